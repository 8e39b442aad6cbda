"""A bundle in this process, with the answers of an endpoint's client."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

from rhoray.client import Prediction, Refused
from rhoray.core.errors import InputRefused
from rhoray.inference.prediction import material_of
from rhoray.inference.predictor import Predictor, read_input


class LocalModel:
    """A bundle at work on this machine.

    Args:
        bundle: its URI; `pretrained:` is the packaged one.

    Raises:
        BundleError: absent, altered or incomplete.
    """

    def __init__(self, bundle: str) -> None:
        self._predictor = Predictor.load(bundle)

    @property
    def targets(self) -> list[str]:
        """Every target it predicts, in reading order."""
        return self._predictor.bundle.targets

    def predict_many(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Prediction | Refused]]:
        """Yield each path with its prediction, or with why there is none, in the order given."""
        for path in paths:
            try:
                yield path, self._predict(path)
            except InputRefused as error:
                yield path, Refused(str(error), status=0, name=error.code, request_id="")
            except OSError as error:
                yield path, Refused(f"{path}: {error.strerror}", status=0, name="unreadable", request_id="")

    def _predict(self, path: Path) -> Prediction:
        started = perf_counter()
        density = read_input(path.read_bytes())
        read = perf_counter()
        found = self._predictor(density)
        return Prediction(
            properties=found.properties,
            in_domain=found.in_domain,
            reasons=found.reasons,
            material=material_of(density),
            model=self._predictor.name,
            version=self._predictor.version,
            seconds={"read": round(read - started, 4), "predict": round(perf_counter() - read, 4)},
        )
