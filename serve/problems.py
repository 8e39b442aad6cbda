"""RFC 9457 problem documents: one table from an error's code to its status.

The `detail` of what we raise on purpose is written for users. Anything else is logged with its
trace and answered with a sentence that says nothing of our insides.
"""

import logging
import re
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rhoray.core.errors import InputRefused, Unavailable
from rhoray.inference.reconstruct import NoReconstruction

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
REQUEST_ID_HEADER = "x-request-id"
RETRY_AFTER_SECONDS = 1
PROBLEM_KEY = "rhoray.problem"  # in an ASGI scope
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestRefused(InputRefused):
    """A request that can't be worked on, whatever file it carries."""

    code: ClassVar[str] = "invalid-request"


class Unauthorized(RequestRefused):
    """No token, or one that is not ours."""

    code: ClassVar[str] = "unauthorized"


class Forbidden(RequestRefused):
    """A URI outside of what the endpoint may read."""

    code: ClassVar[str] = "forbidden"


class TooSlow(RequestRefused):
    """The body did not arrive in time."""

    code: ClassVar[str] = "timeout"


class Overloaded(RequestRefused):
    """No room for this request now; the same request may succeed a moment later."""

    code: ClassVar[str] = "overloaded"


class OtherVersion(Overloaded):
    """A latent met a replica of another bundle, as happens for a moment while one replaces the other."""


class NotThere(Unavailable):
    """The storage answered, and holds no such object."""

    code: ClassVar[str] = "not-found"


@dataclass(frozen=True, slots=True)
class Kind:
    """What all problems of one type share."""

    status: int
    title: str


KINDS = {
    "invalid-request": Kind(400, "The request is malformed"),
    "unreadable": Kind(400, "The file can't be read"),
    "unauthorized": Kind(401, "A valid token is needed"),
    "forbidden": Kind(403, "This URI may not be read"),
    "not-found": Kind(404, "There is nothing here"),
    "method-not-allowed": Kind(405, "This route has no such method"),
    "timeout": Kind(408, "The request took too long to arrive"),
    "too-large": Kind(413, "The file is too large"),
    "unknown-format": Kind(415, "The format is not known"),
    "impossible": Kind(422, "The density is physically impossible"),
    "refused": Kind(422, "The file can't be used"),
    "internal": Kind(500, "Something failed on our side"),
    "not-converged": Kind(422, "The calculation did not converge"),
    NoReconstruction.code: Kind(501, "This model can't decode its latents"),
    "unavailable": Kind(502, "The storage did not give the object"),
    "overloaded": Kind(503, "Too busy, try again"),
}
_CODE_OF_STATUS = {
    401: "unauthorized",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
}


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str = Field(examples=["urn:rhoray:problem:unreadable"])
    title: str = Field(examples=["The file can't be read"])
    status: int = Field(examples=[400])
    detail: str = Field(
        description="what was found and what was expected",
        examples=["truncated CHGCAR: it ends before the blank line that follows the atoms; copy the file again"],
    )
    instance: str = Field(
        description="this request; the server's log has the same id",
        examples=["urn:rhoray:request:7f3e4a90-2f34-4a4e-9d3c-8a1f5f4f6f0e"],
    )


class FileProblem(Problem):
    """An entry of a batch that has no prediction."""

    file: str = Field(description="name of the part as it was sent", examples=["photo.jpg"])


def problem_of(error: Exception, instance: str) -> Problem:
    """Return the document for an error, and log it when it is no fault of the request."""
    if isinstance(error, InputRefused):
        return _document(error.code if error.code in KINDS else "refused", str(error), instance)
    logger.error("%s failed", instance, exc_info=error)
    detail = "an unexpected error was logged; quote `instance` to whoever runs this endpoint"
    return _document("internal", detail, instance)


def _document(code: str, detail: str, instance: str) -> Problem:
    kind = KINDS[code]
    return Problem(
        type=f"urn:rhoray:problem:{code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=instance,
    )


def is_request_id(text: str) -> bool:
    """Return whether an id may go into logs and answers as it is."""
    return _SAFE_ID.fullmatch(text) is not None


def instance_of(request: Request) -> str:
    """Return a URN for this request, from the id that Serve gives it (or its sender)."""
    given = request.headers.get(REQUEST_ID_HEADER, "")
    return f"urn:rhoray:request:{given if is_request_id(given) else uuid.uuid4()}"


def problem_name(problem: Problem) -> str:
    """Return the last part of a problem's type, such as `unreadable`."""
    return problem.type.rsplit(":", 1)[-1]


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """Return a problem document as an HTTP response, with the headers that its status asks for."""
    extra = dict(headers or {})
    if problem.status == HTTPStatus.UNAUTHORIZED:
        extra["WWW-Authenticate"] = "Bearer"
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Response(problem.model_dump_json(), problem.status, extra, MEDIA_TYPE)


async def answer_error(request: Request, error: Exception) -> Response:
    """Exception handler for our own tree and for everything that nobody expected."""
    return _answer(request, problem_of(error, instance_of(request)))


async def answer_validation_error(request: Request, error: RequestValidationError) -> Response:
    """Exception handler for FastAPI's own checks of parameters."""
    found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return _answer(request, _document("invalid-request", found, instance_of(request)))


async def answer_http_exception(request: Request, error: HTTPException) -> Response:
    """Exception handler for what the router refuses: unknown routes and methods."""
    phrase = HTTPStatus(error.status_code).phrase
    problem = Problem(
        type=f"urn:rhoray:problem:{_CODE_OF_STATUS.get(error.status_code, 'invalid-request')}",
        title=phrase,
        status=error.status_code,
        detail=f"{request.method} {request.url.path}: {error.detail}; GET /docs lists the routes",
        instance=instance_of(request),
    )
    return _answer(request, problem, dict(error.headers or {}))


def _answer(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """Answer a request with a problem, and leave its name where it is counted and logged."""
    request.scope[PROBLEM_KEY] = problem_name(problem)
    return problem_response(problem, headers)
