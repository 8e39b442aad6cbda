"""What a reconstruction is judged by, in physical units."""

import torch
from jaxtyping import Float
from torch import Tensor

Batch = Float[Tensor, "b 1 na nb nc"]


def density_error(found: Batch, expected: Batch) -> Float[Tensor, " b"]:
    """Return, per crystal, the misplaced charge over the charge: integral |d rho| / integral rho."""
    misplaced = (found - expected).abs().sum(dim=(1, 2, 3, 4))
    return misplaced / expected.sum(dim=(1, 2, 3, 4)).clamp_min(torch.finfo(expected.dtype).tiny)


def electron_error(found: Batch, expected: Batch) -> Float[Tensor, " b"]:
    """Return, per crystal, the relative error of the electron count."""
    total = expected.sum(dim=(1, 2, 3, 4))
    return (found.sum(dim=(1, 2, 3, 4)) - total).abs() / total.clamp_min(torch.finfo(expected.dtype).tiny)
