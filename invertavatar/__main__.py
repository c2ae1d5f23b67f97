"""`python -m invertavatar`: the program `invertavatar`."""

from scripts.cli import main

main()
