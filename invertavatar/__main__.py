"""`python -m invertavatar`: the program `invertavatar`."""

from invertavatar.scripts.cli import main

if __name__ == "__main__":
    main()
