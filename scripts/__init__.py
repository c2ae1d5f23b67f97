"""The command-line programs, one for each task; only these parse arguments."""
