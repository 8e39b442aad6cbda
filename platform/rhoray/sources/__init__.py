"""Where densities and labels come from."""
