"""Who is judged on what: folds that keep all polymorphs of a formula together, and predictions out of fold."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.model_selection import GroupKFold

# The underscore: folds of one list differ in size.
Fold = tuple[Int[np.ndarray, " _train"], Int[np.ndarray, " _test"]]
FitPredict = Callable[[np.ndarray, np.ndarray], np.ndarray]


def grouped_folds(groups: Sequence[str], *, count: int, seed: int) -> list[Fold]:
    """Return folds over rows such that no group stands on both sides of any.

    Args:
        groups: one key per row, such as the reduced formula.
        count: folds; fewer if there are fewer groups.
        seed: of the shuffle.
    """
    splitter = GroupKFold(min(count, len(set(groups))), shuffle=True, random_state=seed)
    rows = np.zeros((len(groups), 1))
    return [(train, test) for train, test in splitter.split(rows, groups=np.asarray(groups))]


def out_of_fold(folds: Sequence[Fold], fit_predict: FitPredict, num_rows: int) -> Float[np.ndarray, " n"]:
    """Return for each row the prediction of the model that was fitted without its fold."""
    found = np.full(num_rows, np.nan)
    for test, predictions in fold_predictions(folds, fit_predict):
        found[test] = predictions
    return found


def fold_predictions(
    folds: Sequence[Fold], fit_predict: FitPredict
) -> Iterator[tuple[Int[np.ndarray, " _test"], Float[np.ndarray, " _test"]]]:
    """Yield each fold's rows and their predictions, so that a scheduler may stop between folds."""
    for train, test in folds:
        yield test, fit_predict(train, test)
