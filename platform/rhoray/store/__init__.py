"""Shards and manifests: how densities and latents lie in an object store."""
