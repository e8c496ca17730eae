"""`python -m parity` is the command line."""

from .cli.app import main

main()
