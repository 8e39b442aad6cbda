"""The endpoint: one charge density in over HTTP, properties with intervals out, on Ray Serve."""
