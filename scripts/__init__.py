"""The command-line programs, one for each task; only these parse arguments."""

if __name__ != "invertavatar.scripts":  # a module that has two names is there twice
    raise ImportError("The folder scripts is part of the package: import invertavatar.scripts.")
