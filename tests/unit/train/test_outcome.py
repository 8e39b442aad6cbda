"""Which epoch a run keeps."""

import pytest

from rhoray.train.outcome import best_epoch


def history(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"val_density_error_median": median, "val_density_error_p95": tail} for median, tail in pairs]


@pytest.mark.parametrize(
    ("pairs", "best"),
    [
        ([(0.02, 0.05), (0.01, 0.06), (0.015, 0.01)], 2),
        ([(0.01, 0.05), (0.01, 0.05)], 1),
        ([(float("nan"), float("nan")), (0.01, 0.02)], 2),
        # Below rounding the medians say nothing, and what does not fit decides.
        ([(3e-7, 4e-4), (5e-7, 2e-4), (2e-7, 3e-4)], 2),
        ([(5e-6, 1e-4), (3e-7, 2e-4)], 2),
    ],
)
def test_the_best_epoch(pairs, best):
    assert best_epoch(history(*pairs)) == best
