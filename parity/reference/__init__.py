"""The modules once more in NumPy float64, written from their formulas, and their rounding noise."""
