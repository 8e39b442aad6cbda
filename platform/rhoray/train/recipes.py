"""Recipes: a full configuration of network and training under one name.

A flag chooses a recipe and overrides a few numbers; what came out is saved with the weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from rhoray.core.errors import RhoRayError
from rhoray.models.autoencoder import AutoencoderConfig

FrameKind = Literal["cell", "padded", "box"]
Loss = Literal["density_error", "mse"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a training run, machines and data apart.

    Attributes:
        name: of the recipe.
        network: the autoencoder.
        frame: how a crystal is looked at.
        loss: `density_error` (integral |d rho| / integral rho) or `mse` over voxels.
        epochs: passes over the training crystals.
        batch_size: crystals a step, over all workers together.
        learning_rate: peak, for Adam.
        core_rate: share of it for a network's linear core (`Autoencoder.core_parameters`).
        warmup_steps: linear ramp to the peak; a cosine to 1 % of it follows. 0 keeps the rate constant.
        basis_crystals: training crystals whose patches give `patch` its linear start.
        clip_norm: largest norm of a gradient step, 0 for no limit.
        ema_decay: of the running mean of weights that validation and the written file use; 0 for none.
        precision: of the network's arithmetic; `auto` is bfloat16 on a GPU that has it.
        augment: show each crystal in a random symmetry-equivalent view of its frame.
        checkpoint_seconds: between two checkpoints within an epoch, which is what a crash can cost.
        seed: of weights and order.
    """

    name: str
    network: AutoencoderConfig
    frame: FrameKind = "cell"
    loss: Loss = "density_error"
    epochs: int = 30
    batch_size: int = 8
    learning_rate: float = 3e-4
    core_rate: float = 0.01
    warmup_steps: int = 20
    basis_crystals: int = 32
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    precision: Precision = "auto"
    augment: bool = False
    checkpoint_seconds: float = 60.0
    seed: int = 0


def zones() -> Recipe:
    """RhoRay's own: 16 zones of the spectrum as latent, convolutions at 16^3 for those above; periodic cell frame."""
    network = AutoencoderConfig(architecture="zones", ball=True)
    # Fourier transforms are not made in bfloat16.
    return Recipe(name="zones", network=network, learning_rate=1e-3, augment=True, precision="float32")


def patch() -> Recipe:
    """Patches with a linear core, convolutions at 16^3; for any frame."""
    return Recipe(name="patch", network=AutoencoderConfig())


def paper() -> Recipe:
    """The paper's network, loss and optimiser (arXiv:2605.07227, AE_16): padded frame, MSE, Adam 1e-3, batch 4."""
    return Recipe(
        name="paper",
        network=AutoencoderConfig(architecture="paper", periodic=False),
        frame="padded",
        loss="mse",
        epochs=200,
        batch_size=4,
        learning_rate=1e-3,
        warmup_steps=0,
        clip_norm=0.0,
        ema_decay=0.0,
        precision="float32",
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"zones": zones, "patch": patch, "paper": paper}


def default_recipe(frame: FrameKind | None) -> str:
    """Return the name of the recipe for a frame: zones need one whose opposite faces touch."""
    return "zones" if frame in (None, "cell") else "patch"


def get_recipe(name: str | None = None, *, frame: FrameKind | None = None, epochs: int | None = None) -> Recipe:
    """Return a recipe with the overrides that are given; without a name that for the frame.

    Raises:
        RhoRayError: no recipe has that name, or epochs is not positive.
    """
    name = name or default_recipe(frame)
    if name not in RECIPES:
        raise RhoRayError(f"no recipe {name!r}, expected one of {', '.join(RECIPES)}")
    if epochs is not None and epochs < 1:
        raise RhoRayError(f"{epochs} epochs, expected at least 1")
    recipe = RECIPES[name]()
    if frame is not None:
        if frame != "cell" and recipe.network.architecture == "zones":
            raise RhoRayError(f"recipe zones needs the frame cell, not {frame}: use patch")
        network = replace(recipe.network, periodic=recipe.network.periodic and frame == "cell")
        recipe = replace(recipe, frame=frame, network=network)
    return recipe if epochs is None else replace(recipe, epochs=epochs)
