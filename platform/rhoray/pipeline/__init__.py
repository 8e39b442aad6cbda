"""Ray Data pipelines."""
