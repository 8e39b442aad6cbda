"""Searching and fitting regressors with Ray Tune."""
