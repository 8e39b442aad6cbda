"""Pictures, as PNG bytes; drawn without a screen."""

import io

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rhoray.core.percent import percent

DPI = 120


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    return buffer.getvalue()


def reconstruction_figure(expected: Float[np.ndarray, "n n n"], found: Float[np.ndarray, "n n n"], title: str) -> bytes:
    """Return slices of a density, its reconstruction and their difference, e/A3.

    The slice is the plane normal to c that holds the densest point.
    """
    plane = int(np.unravel_index(expected.argmax(), expected.shape)[2])
    error = float(np.abs(found - expected).sum() / expected.sum())
    figure = Figure(figsize=(11, 3.4))
    axes = figure.subplots(1, 3)
    top = float(np.quantile(expected[:, :, plane], 0.99))
    spread = float(np.abs((found - expected)[:, :, plane]).max()) or 1.0
    panels = (
        ("density", expected, {"vmin": 0, "vmax": top, "cmap": "viridis"}),
        ("decoded from the latent", found, {"vmin": 0, "vmax": top, "cmap": "viridis"}),
        ("difference", found - expected, {"vmin": -spread, "vmax": spread, "cmap": "RdBu_r"}),
    )
    for axis, (name, values, colours) in zip(axes, panels, strict=True):
        image = axis.imshow(values[:, :, plane].T, origin="lower", **colours)
        axis.set(title=name, xticks=[], yticks=[], xlabel="a", ylabel="b")
        figure.colorbar(image, ax=axis, label="e/A$^3$", shrink=0.85)
    figure.suptitle(f"{title}: misplaced charge {percent(error)}", y=1.04)
    return _png(figure)


def curves_figure(history: list[dict[str, float]]) -> bytes:
    """Return what training and validation came to in each epoch.

    Args:
        history: with `epoch`, `train_loss`, `learning_rate` and the metrics of `train.loop.evaluate`.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    epochs = [metrics["epoch"] for metrics in history]

    def draw(axis: Axes, name: str, label: str, scale: float = 1.0) -> None:
        axis.plot(epochs, [scale * metrics[name] for metrics in history], marker=".", label=label)

    draw(left, "train_loss", "training loss")
    left.set(yscale="log", title="loss, training crystals")
    for name, label in (("median", "median"), ("p95", "95th percentile"), ("worst", "worst")):
        draw(middle, f"val_density_error_{name}", label, 100.0)
    middle.set(yscale="log", ylabel="%", title="misplaced charge, validation crystals")
    draw(right, "learning_rate", "learning rate at the epoch's end")
    for axis in (left, middle, right):
        axis.set(xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(visible=True, which="both", alpha=0.3)
        axis.legend(fontsize=8)
    return _png(figure)


def parity_figure(
    label: str,
    unit: str,
    expected: Float[np.ndarray, " n"],
    found: Float[np.ndarray, " n"],
    half_widths: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
) -> bytes:
    """Return predictions against reference values with their 90 % intervals."""
    figure = Figure(figsize=(4.6, 4.4))
    axis = figure.subplots()
    axis.errorbar(expected, found, yerr=half_widths, fmt="o", ms=4, alpha=0.7, elinewidth=0.7)
    ends = [min(expected.min(), found.min()), max(expected.max(), found.max())]
    axis.plot(ends, ends, color="0.4", lw=1)
    axis.set(xlabel=f"reference {label} ({unit})", ylabel=f"predicted {label} ({unit})")
    axis.set_title(f"{len(expected)} crystals the model has not seen")
    return _png(figure)


def history_figure(label: str, unit: str, errors: Float[np.ndarray, " n"], complete: Bool[np.ndarray, " n"]) -> bytes:
    """Return the error of each trial of a search and the best so far; trials that were stopped early are hollow."""
    figure = Figure(figsize=(6, 3.6))
    axis = figure.subplots()
    number = np.arange(len(errors))
    axis.plot(number[complete], errors[complete], "o", ms=5, label="all folds")
    axis.plot(number[~complete], errors[~complete], "o", ms=5, mfc="none", color="0.5", label="stopped early")
    axis.step(number, np.fmin.accumulate(np.where(complete, errors, np.nan)), where="post", label="best so far")
    axis.set(xlabel="trial", ylabel=f"MAE of the {label} ({unit})")
    axis.legend()
    return _png(figure)


def bars_figure(title: str, values: dict[str, float], label: str) -> bytes:
    """Return horizontal bars, the first on top."""
    figure = Figure(figsize=(6, 0.6 + 0.32 * len(values)))
    axis = figure.subplots()
    axis.barh(list(values)[::-1], list(values.values())[::-1])
    axis.set(xlabel=label, title=title)
    return _png(figure)


def density_parity_figure(
    label: str, unit: str, expected: Float[np.ndarray, " n"], found: Float[np.ndarray, " n"]
) -> bytes:
    """Return predictions against reference values, as counts where there are many."""
    figure = Figure(figsize=(4.8, 4.2))
    axis = figure.subplots()
    image = axis.hexbin(expected, found, gridsize=45, bins="log", mincnt=1)
    ends = [min(expected.min(), found.min()), max(expected.max(), found.max())]
    axis.plot(ends, ends, color="0.4", lw=1)
    axis.set(xlabel=f"reference {label} ({unit})", ylabel=f"predicted {label} ({unit})")
    figure.colorbar(image, ax=axis, label="crystals")
    return _png(figure)


Curve = tuple[np.ndarray, np.ndarray]


def curve_figure(label: str, unit: str, curves: dict[str, Curve]) -> bytes:
    """Return error against the share of the training crystals, one line per name."""
    figure = Figure(figsize=(5, 3.6))
    axis = figure.subplots()
    for name, (share, error) in curves.items():
        axis.loglog(100 * share, error, "o-", label=name)
    axis.set(xlabel="training crystals used (%)", ylabel=f"MAE of the {label} ({unit})")
    axis.legend()
    return _png(figure)
