"""Charge densities: the value object, its readers and its frames."""
