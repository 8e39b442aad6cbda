"""Training the autoencoder."""
