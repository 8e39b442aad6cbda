"""What FastAPI can't infer of our routes for /docs: streamed bodies, problems, binary answers."""

from http import HTTPStatus
from typing import Any

from serve.problems import KINDS, MEDIA_TYPE, Problem
from serve.schemas import UriInput
from serve.upload import FIELD

DESCRIPTION = """Materials properties with 90 % intervals from DFT charge densities.

    curl -F file=@CHGCAR http://127.0.0.1:8000/v1/predict

Every answer has an `X-Request-ID`: the sender's own when it is 1 to 64 letters, digits, dots, dashes or underscores.
Refusals are RFC 9457 problem documents; 503 comes with `Retry-After`."""

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """Return the entries of a route's `responses` for problem documents."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": _SCHEMA, "example": _problem_example(status)}},
        }
        for status in statuses
    }


def _problem_example(status: int) -> dict[str, Any]:
    """Return a document of the first kind that has this status."""
    code, kind = next((code, kind) for code, kind in KINDS.items() if kind.status == status)
    fields = Problem.model_json_schema()["properties"]
    told = {name: fields[name]["examples"][0] for name in ("detail", "instance")}
    detail = told["detail"] if code == "unreadable" else kind.title
    known = {"type": f"urn:rhoray:problem:{code}", "title": kind.title, "status": status}
    return known | {"detail": detail, "instance": told["instance"]}


def model_card() -> Responses:
    """Return the entry for a model card."""
    example = {
        "name": "pretrained",
        "version": "20261126-07f921ca",
        "targets": [{"target": "bulk_modulus", "unit": "GPa"}],
    }
    return {200: {"description": "OK", "content": {"application/json": {"example": example}}}}


def binary(media_type: str) -> Responses:
    """Return the entry for an answer that is a file."""
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": "OK", "content": {media_type: {"schema": schema}}}}


def reconstruction(media_type: str, header: str) -> Responses:
    """Return the entry for a CHGCAR with its error in a header."""
    (answer,) = binary(media_type).values()
    said = {"description": "integral |d rho| over integral rho", "schema": {"type": "number"}, "example": 0.00138}
    return {200: answer | {"headers": {header: said}}}


def one_file() -> dict[str, Any]:
    """Return the request body of a route that takes one file or a URI."""
    content = _form({"type": "string", "format": "binary"})
    by_uri = {"schema": UriInput.model_json_schema(), "example": {"uri": "s3://bucket/densities/mp-149_CHGCAR.gz"}}
    return _body(content | {"application/json": by_uri})


def several_files() -> dict[str, Any]:
    """Return the request body of a route that takes several files."""
    return _body(_form({"type": "array", "items": {"type": "string", "format": "binary"}}))


def _form(file: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": [FIELD], "properties": {FIELD: file}}
    return {"multipart/form-data": {"schema": schema}}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


_SCHEMA = Problem.model_json_schema()
FILE_PROBLEMS = problems(400, 401, 403, 404, 408, 413, 415, 422, 502, 503)
DECODE_PROBLEMS = FILE_PROBLEMS | problems(501)
