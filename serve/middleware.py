"""What happens to every request, whatever its route: an id, safe headers, a log line, metrics, a last resort."""

import logging
import uuid
from time import perf_counter

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.metrics import RequestMetrics
from serve.problems import PROBLEM_KEY, REQUEST_ID_HEADER, answer_error, is_request_id

logger = logging.getLogger(__name__)

# For answers that are data: nothing in them may be run or shown in a frame.
NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'"
SAFE_HEADERS = {
    "Content-Security-Policy": NOTHING_RUNS,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Observed:
    """Gives a request its id and its answer safe headers; counts and logs it.

    Serve's proxy takes over an id, or makes one, and puts it into the answer; elsewhere that is done here.
    """

    def __init__(self, app: ASGIApp, *, metrics: RequestMetrics, behind_serve: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._behind_serve = behind_serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app for one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = perf_counter(), 499  # the client's own code for "went away"
        identity = _identify(scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
                if not self._behind_serve:
                    headers[REQUEST_ID_HEADER] = identity
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._note(scope, identity, status, perf_counter() - start)

    def _note(self, scope: Scope, identity: str, status: int, seconds: float) -> None:
        # The path as the route spells it: an unknown one is its sender's text, and would be a label of its own.
        route = getattr(scope.get("route"), "path", "unknown")
        problem = scope.get(PROBLEM_KEY, "")
        self._metrics.answered(route, status, seconds)
        if problem:
            self._metrics.refused(problem)
        fields = {"http_route": route, "http_status": status, "seconds": round(seconds, 6), "problem": problem}
        logger.info(
            "%s %s %d %sin %.3f s",
            scope["method"],
            route,
            status,
            f"{problem} " if problem else "",
            seconds,
            extra=fields | {"rhoray_request": identity},
        )


def _identify(scope: Scope) -> str:
    """Return the request's id; one that is absent or odd is replaced, for everything that comes after."""
    headers = MutableHeaders(scope=scope)
    given = headers.get(REQUEST_ID_HEADER, "")
    if is_request_id(given):
        return given
    headers[REQUEST_ID_HEADER] = identity = str(uuid.uuid4())
    return identity


class LastResort:
    """Turns an exception that no handler took into a problem document.

    A handler for Exception would run in Starlette's outermost layer, which raises it again.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app for one request."""
        has_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            if scope["type"] != "http" or has_started:
                raise
            response = await answer_error(Request(scope), error)
            await response(scope, receive, send)
