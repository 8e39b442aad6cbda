"""Loss curves as a picture."""

import pytest

from rhoray.evaluate.plots import curves_figure


@pytest.mark.parametrize("epochs", [1, 30])
def test_curves_are_drawn_of_any_length(epochs):
    names = ["train_loss", "learning_rate", *(f"val_density_error_{n}" for n in ("median", "p95", "worst"))]
    history = [{"epoch": float(e), **{n: 1 / e + i for i, n in enumerate(names)}} for e in range(1, epochs + 1)]
    assert curves_figure(history).startswith(b"\x89PNG")
