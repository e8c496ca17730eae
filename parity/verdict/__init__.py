"""The verdict: what is expected, how far off the computed arrays are, and whether that is too far."""
