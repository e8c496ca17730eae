"""`python -m parity` is the command line."""

from .cli import main

main()
