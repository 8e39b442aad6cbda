"""What Serve's HTTP proxy says by itself, made into problem documents that ask for another try.

When an ingress replica dies the proxy has no answer for the requests that it held: it sends 500 without a word. Its
queues full, no replica yet, or its own time limit passed, it says so in plain text. To have these as
503 problem documents with Retry-After, set before Ray starts on a node (see serve/config.yaml):

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.edge:middlewares
"""

import uuid
from time import monotonic

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import REQUEST_ID_HEADER, Overloaded, answer_error

OWN_STATUS = {408, 429, 500, 503}
# A proxy that has just started does not know its routes yet, and says 404.
YOUNG_SECONDS = 15.0


def middlewares() -> list[Middleware]:
    """Return what Serve's proxy puts around itself."""
    return [Middleware(TryAgain)]


class TryAgain:
    """Answers 503 with Retry-After where the proxy has nothing to say, or only plain text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._started = monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        identity = headers.setdefault(REQUEST_ID_HEADER, str(uuid.uuid4()))
        has_started = is_replaced = False

        async def send_unless_own(message: Message) -> None:
            nonlocal has_started, is_replaced
            if message["type"] == "http.response.start" and not has_started:
                is_replaced = self._is_own(message)
                has_started = True
            if not is_replaced:
                await send(message)

        try:
            await self._app(scope, receive, send_unless_own)
        except Exception:
            if has_started and not is_replaced:
                raise
            is_replaced = True
        if is_replaced or not has_started:
            error = Overloaded("whoever worked on this request was lost or has no room; send it again")
            response = await answer_error(Request(scope), error)
            response.headers[REQUEST_ID_HEADER] = identity
            await response(scope, receive, send)

    def _is_own(self, start: Message) -> bool:
        """Return whether an answer is the proxy's own and no application's."""
        if not Headers(raw=start["headers"]).get("content-type", "").startswith("text/plain"):
            return False
        is_young = monotonic() - self._started < YOUNG_SECONDS
        return start["status"] in OWN_STATUS or (start["status"] == 404 and is_young)
