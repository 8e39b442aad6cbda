"""Bearer tokens: asked for on every /v1 route but health, once at least one is configured."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from serve.problems import Unauthorized

# auto_error would answer before us, with a body that is no problem document.
_BEARER = HTTPBearer(auto_error=False, description="needed when the endpoint runs with RHORAY_API_TOKEN")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


def is_known(token: str, known: Sequence[str]) -> bool:
    """Return whether `token` is one of `known`; the time it takes does not tell how nearly."""
    given = token.encode()
    matches = [hmac.compare_digest(given, candidate.encode()) for candidate in known]
    return any(matches)


def token_check(tokens: Sequence[str]) -> Callable[..., Awaitable[None]]:
    """Return a FastAPI dependency that raises Unauthorized for a request without one of `tokens`.

    Without any `tokens` every request passes.
    """

    async def check(credentials: _Credentials) -> None:
        if not tokens:
            return
        if credentials is None:
            raise Unauthorized("no token found, expected the header `Authorization: Bearer <token>`")
        if not is_known(credentials.credentials, tokens):
            raise Unauthorized("the token is not one that this endpoint knows")

    return check
