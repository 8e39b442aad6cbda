"""Networks and regressors."""
