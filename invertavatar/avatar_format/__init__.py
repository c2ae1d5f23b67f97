"""How an avatar lies in files and in memory, and what is checked when one is read."""
