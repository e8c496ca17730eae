"""Data: the cases, what is drawn for them, and the mutants."""
