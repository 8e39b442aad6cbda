"""Bodies of requests, with every limit enforced while the bytes arrive.

Starlette's own form parser keeps a whole body before a route sees its size. Here the declared
length is checked first, then every chunk is counted and handed to a streaming parser that keeps
nothing but the `file` parts.
"""

import posixpath
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from rhoray.core.errors import InputRefused, TooLarge, UnknownFormat
from serve.admission import Ticket
from serve.problems import RequestRefused
from serve.schemas import UriInput

FIELD = "file"
MAX_JSON_BYTES = 2**16
MAX_NAME_LENGTH = 200


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One `file` part: its bytes, or why they were not kept."""

    name: str
    content: bytes | InputRefused


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may bring.

    Attributes:
        body: most bytes of the whole body.
        file: most bytes of one file.
        files: most files.
    """

    body: int
    file: int
    files: int = 1


def media_type_of(request: Request) -> str:
    """Return the request's media type without parameters, such as `multipart/form-data`."""
    return parse_options_header(request.headers.get("content-type"))[0].decode("latin-1")


async def read_files(request: Request, limits: Limits, ticket: Ticket) -> list[UploadedFile]:
    """Return the `file` parts of a multipart body, in the order they were sent.

    Raises:
        TooLarge: the body, or the number of files, is over its limit.
        RequestRefused: the body is no multipart form, or has no part named `file`.
    """
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise RequestRefused("multipart/form-data without a boundary in its Content-Type")
    parts = _FileParts(boundary, limits)
    async for chunk in limited_chunks(request, limits.body, ticket):
        parts.feed(chunk)
    return parts.close()


async def read_uri_input(request: Request, ticket: Ticket) -> str:
    """Return the URI of a JSON body.

    Raises:
        RequestRefused: the body is not JSON of the form {"uri": "s3://…"}.
    """
    content = b"".join([c async for c in limited_chunks(request, MAX_JSON_BYTES, ticket)])
    try:
        return UriInput.model_validate_json(content).uri
    except ValidationError as error:
        found = "; ".join(e["msg"] for e in error.errors(include_url=False, include_input=False))
        raise RequestRefused(f'expected JSON like {{"uri": "s3://…"}}: {found}') from error


async def limited_chunks(request: Request, limit: int, ticket: Ticket) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        TooLarge: it declares, or turns out to have, more than `limit` bytes.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal():
        _refuse_above(limit, int(declared))
        ticket.hold(int(declared))
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            _refuse_above(limit, received)
            ticket.hold(received)
            yield chunk
    except ClientDisconnect as error:
        raise RequestRefused("the connection closed before the whole body had arrived") from error


def _refuse_above(limit: int, found: int) -> None:
    if found > limit:
        raise TooLarge(f"a body of {found} bytes or more, expected at most {limit}")


def one_content(files: list[UploadedFile]) -> bytes:
    """Return the content of the only file.

    Raises:
        RequestRefused: there are several.
        InputRefused: it is over its limit.
    """
    if len(files) != 1:
        raise RequestRefused(f"{len(files)} parts named `{FIELD}`, expected one; /v1/predict/batch takes several")
    content = files[0].content
    if isinstance(content, InputRefused):
        raise content
    return content


def refuse_media_type(found: str, *expected: str) -> UnknownFormat:
    """Return the error for a body of another type than a route reads."""
    return UnknownFormat(f"a body of {found or 'no declared type'}, expected {' or '.join(expected)}")


class _FileParts:
    """Feeds a streaming multipart parser and keeps the content of parts named `file`."""

    def __init__(self, boundary: bytes, limits: Limits) -> None:
        self._limits = limits
        self._files: list[UploadedFile] = []
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = ""
        self._name: str | None = None  # of the part being read, None when it is not wanted
        self._content = BytesIO()
        self._size = 0
        self._is_complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header_field,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise RequestRefused(f"not a multipart form: {error}") from error

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise RequestRefused(f"not a multipart form: {error}") from error

    def close(self) -> list[UploadedFile]:
        """Return the files, all of them complete."""
        if not self._is_complete:
            raise RequestRefused("the multipart body ends before its closing boundary")
        if not self._files:
            raise RequestRefused(f"no part named `{FIELD}` in the multipart body")
        return self._files

    def _begin_part(self) -> None:
        self._disposition = ""

    def _add_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value.decode("latin-1")
        self._header = (bytearray(), bytearray())

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        is_file = options.get(b"name") == FIELD.encode()
        self._name = _clean_name(options.get(b"filename", b"")) if is_file else None
        self._content, self._size = BytesIO(), 0
        if is_file and len(self._files) == self._limits.files:
            raise TooLarge(f"more than {self._limits.files} parts named `{FIELD}`, the most for this route")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            return
        self._size += end - start
        if self._size <= self._limits.file:
            self._content.write(data[start:end])
        else:
            self._content = BytesIO()  # it can only be refused now: give its memory back

    def _end_part(self) -> None:
        if self._name is None:
            return
        # getvalue shares the buffer instead of copying it.
        content: bytes | InputRefused = self._content.getvalue()
        if self._size > self._limits.file:
            content = TooLarge(f"a file of {self._size} bytes, expected at most {self._limits.file}")
        self._files.append(UploadedFile(self._name, content))
        self._name = None

    def _end(self) -> None:
        self._is_complete = True


def _clean_name(raw: bytes) -> str:
    """Return a sender's file name as one printable component."""
    name = posixpath.basename(raw.decode("utf-8", "replace").replace("\\", "/"))
    return "".join(c for c in name if c.isprintable())[:MAX_NAME_LENGTH] or FIELD
