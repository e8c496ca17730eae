"""The command line, `parity COMMAND`: a file for each command."""
