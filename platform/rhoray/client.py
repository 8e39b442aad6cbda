"""A client of the endpoint: files in, typed predictions out, patient with an endpoint that is busy.

Example:
    with Client("http://127.0.0.1:8000") as client:
        print(client.predict(Path("CHGCAR")).value("bulk_modulus"))
"""

import io
import random
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import numpy as np
import requests
from jaxtyping import Float

from rhoray.core.errors import RhoRayError
from rhoray.inference.prediction import Material, PropertyPrediction
from rhoray.inference.prediction import Prediction as Predicted

# Busy, overloaded, or a proxy in front that lost its server for a moment: the same request may succeed later.
LATER = {429, 502, 503, 504}
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
CONNECT_TIMEOUT_S = 10.0
# No connection, one that was reset, or one that ended in the middle of an answer.
CUT_OFF = requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError
Part = dict[str, tuple[str, bytes]]
TOKEN_VARIABLE = "RHORAY_API_TOKEN"  # noqa: S105 - the variable's name


class EndpointError(RhoRayError):
    """The endpoint can't be reached, refuses the token, or gives no sensible answer."""


class Refused(RhoRayError):
    """The endpoint refused a file, with the problem document it gave.

    Attributes:
        status: HTTP status.
        name: what kind of problem, such as `unreadable`.
        request_id: what its operator finds in the log.
    """

    def __init__(self, detail: str, *, status: int, name: str, request_id: str) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class Prediction(Predicted):
    """The answer for one crystal: what the model says of it, and of what it says that.

    Attributes:
        properties: one entry per target of the model.
        in_domain: whether the model was trained on crystals like this one.
        reasons: why not.
        material: formula, atoms, volume, electrons and kind of density, as they were read.
        model: name of the bundle.
        version: its version.
        seconds: wall time of each stage at the endpoint.
    """

    material: Material
    model: str
    version: str
    seconds: dict[str, float]

    def value(self, target: str) -> float:
        """Return one property's value.

        Raises:
            KeyError: the model has no such target.
        """
        found = {p.target: p.value for p in self.properties}
        return found[target]


class Client:
    """One endpoint; may be used from several threads.

    Args:
        url: where it is, such as `http://127.0.0.1:8000`.
        token: bearer token, when it asks for one.
        patience_s: how long to go on while the endpoint is busy or away.
        timeout_s: longest wait for one answer.
    """

    def __init__(
        self, url: str, *, token: str | None = None, patience_s: float = 120.0, timeout_s: float = 300.0
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise EndpointError(f"{url}: expected a URL that begins with http:// or https://")
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience_s = patience_s
        self._timeout = (CONNECT_TIMEOUT_S, timeout_s)
        self._local = threading.local()  # requests does not promise that sessions are safe to share

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is not None:
            session.close()

    def model(self) -> dict[str, Any]:
        """Return the model card."""
        return _json(self._send("GET", "/v1/model"))

    def predict(self, file: Path | bytes, name: str = "") -> Prediction:
        """Return the properties of the crystal in a file.

        Args:
            file: a path, or what is in it.
            name: what to call the bytes.

        Raises:
            Refused: the endpoint can't use it.
            EndpointError: the endpoint does not answer, or does not know the token.
        """
        return _prediction(_json(self._send("POST", "/v1/predict", files=_part(file, name))))

    def predict_uri(self, uri: str) -> Prediction:
        """Return the properties of the crystal in an object that the endpoint may read.

        Args:
            uri: `s3://bucket/key`, below one of the prefixes that the endpoint was told.

        Raises:
            Refused: the endpoint can't use it, or may not read it.
            EndpointError: the endpoint does not answer, or does not know the token.
        """
        return _prediction(_json(self._send("POST", "/v1/predict", json={"uri": uri})))

    def encode(self, file: Path | bytes, name: str = "") -> Float[np.ndarray, "16 16 16 16"]:
        """Return the latent of the density in a file, float32, 16 channels on 16^3 points.

        It takes and raises what `predict` does.
        """
        content = self._send("POST", "/v1/encode", files=_part(file, name)).content
        return np.load(io.BytesIO(content), allow_pickle=False)

    def reconstruct(self, file: Path | bytes, name: str = "") -> tuple[bytes, float]:
        """Return a CHGCAR decoded from the density's latent, and the misplaced charge over the charge (0 is exact).

        It takes and raises what `predict` does.
        """
        response = self._send("POST", "/v1/reconstruct", files=_part(file, name))
        return response.content, float(response.headers["X-Density-Error"])

    def predict_many(self, paths: Iterable[Path], *, at_once: int = 4) -> Iterator[tuple[Path, Prediction | Refused]]:
        """Yield each path with its prediction, or why there is none, in the order given.

        Args:
            paths: files.
            at_once: requests under way.

        Raises:
            EndpointError: the endpoint does not answer, or does not know the token.
        """

        def one(path: Path) -> tuple[Path, Prediction | Refused]:
            try:
                return path, self.predict(path)
            except Refused as refusal:
                return path, refusal
            except OSError as error:
                reason = f"{path}: {error.strerror or error}"
                return path, Refused(reason, status=0, name="unreadable", request_id="")

        with ThreadPoolExecutor(at_once) as pool:
            try:
                yield from pool.map(one, paths)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _send(
        self, method: str, path: str, *, files: Part | None = None, json: dict[str, str] | None = None
    ) -> requests.Response:
        """Send until there is an answer other than `later`: a request changes nothing, so that it may be repeated."""
        deadline = monotonic() + self._patience_s
        wait = FIRST_WAIT_S
        while True:
            try:
                response = self._session().request(
                    method, f"{self._url}{path}", headers=self._headers, timeout=self._timeout, files=files, json=json
                )
                asked, failure = _retry_after(response), f"{response.status_code} {response.reason}"
                if not _is_for_later(response):
                    return _checked(response)
            except requests.RequestException as error:
                if not isinstance(error, CUT_OFF):
                    raise EndpointError(f"{self._url}: {error}") from error
                asked, failure = None, f"no answer ({type(error).__name__})"
            pause = max(asked or 0.0, wait * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, keeps no secret
            if monotonic() + pause > deadline:
                raise EndpointError(f"{self._url}: {failure} for {self._patience_s:g} s, given up")
            sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        return session


def _part(file: Path | bytes, name: str) -> Part:
    if isinstance(file, bytes):
        return {"file": (name or "file", file)}
    return {"file": (name or file.name, file.read_bytes())}


def _is_for_later(response: requests.Response) -> bool:
    """Return whether the same request may succeed later.

    A 500 in plain text is of a proxy whose server died; one with a problem document is a fault in the server.
    """
    if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        return response.headers.get("Content-Type", "").startswith("text/plain")
    return response.status_code in LATER


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds that an answer asks to wait, given as a number or as a date."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time(), 0.0)
    except (ValueError, TypeError):
        return None


def _checked(response: requests.Response) -> requests.Response:
    if response.ok:
        return response
    try:
        problem = response.json()
        detail, name = str(problem["detail"]), str(problem["type"]).rsplit(":", 1)[-1]
    except (ValueError, KeyError, TypeError) as error:
        raise EndpointError(f"{response.url}: {response.status_code}, and no problem document") from error
    if name in {"unauthorized", "not-found", "method-not-allowed"}:
        raise EndpointError(f"{response.url}: {detail}")
    request_id = response.headers.get("X-Request-ID", "")
    raise Refused(detail, status=response.status_code, name=name, request_id=request_id)


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        return response.json()
    except ValueError as error:
        raise EndpointError(f"{response.url}: an answer that is no JSON; is this a RhoRay endpoint?") from error


def _prediction(answer: dict[str, Any]) -> Prediction:
    try:
        return Prediction(
            material=Material(**answer["material"]),
            properties=tuple(PropertyPrediction(**p) for p in answer["predictions"]),
            in_domain=answer["in_domain"],
            reasons=tuple(answer["reasons"]),
            model=answer["model"]["name"],
            version=answer["model"]["version"],
            seconds=answer["seconds"],
        )
    except (KeyError, TypeError) as error:
        raise EndpointError(f"an answer of another form than expected ({error}); is it of another version?") from error
