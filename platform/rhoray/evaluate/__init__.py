"""Metrics, splits and reports."""
