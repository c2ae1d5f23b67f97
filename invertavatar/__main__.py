"""`python -m invertavatar`: the program `invertavatar`."""

from invertavatar.scripts.cli import main

main()
