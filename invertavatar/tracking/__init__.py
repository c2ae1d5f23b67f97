"""From pictures and files to tracks, portraits and motions."""
