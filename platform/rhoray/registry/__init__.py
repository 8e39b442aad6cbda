"""Versioned bundles: everything that a prediction needs."""
