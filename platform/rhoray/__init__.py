"""RhoRay: materials properties with error bars from DFT charge densities, on Ray."""

__version__ = "0.1.0"
