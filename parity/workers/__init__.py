"""The processes in which frameworks compute, and what goes to them and comes back."""
