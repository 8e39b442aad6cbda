"""Limits hold while the bytes arrive: nothing more is read once a limit is passed."""

import asyncio

import pytest
from starlette.requests import Request

from rhoray.core.errors import InputRefused, TooLarge
from serve.admission import Admission
from serve.problems import Overloaded, RequestRefused
from serve.upload import (
    Limits,
    UploadedFile,
    limited_chunks,
    media_type_of,
    one_content,
    read_files,
    read_uri_input,
)

BOUNDARY = "xYz"
LIMITS = Limits(body=10_000, file=1_000, files=3)


class Sender:
    """An HTTP client as ASGI shows it: chunks on demand, counted as they are asked for."""

    def __init__(self, chunks, *, content_type=f"multipart/form-data; boundary={BOUNDARY}", length=None):
        self.chunks = list(chunks)
        self.sent = 0
        headers = [(b"content-type", content_type.encode())]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        self.request = Request({"type": "http", "method": "POST", "headers": headers}, self._receive)

    async def _receive(self):
        if self.sent == len(self.chunks):
            return {"type": "http.disconnect"}
        self.sent += 1
        more = self.sent < len(self.chunks)
        return {"type": "http.request", "body": self.chunks[self.sent - 1], "more_body": more}


def part(content: bytes, *, name="file", filename="CHGCAR") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    return head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def read(sender, limits=LIMITS, max_bytes=10**6) -> list[UploadedFile]:
    with Admission(max_requests=1, max_bytes=max_bytes).enter() as ticket:
        return asyncio.run(read_files(sender.request, limits, ticket))


def drain(sender, limit):
    async def run(ticket):
        return [chunk async for chunk in limited_chunks(sender.request, limit, ticket)]

    with Admission(max_requests=1, max_bytes=10**6).enter() as ticket:
        return asyncio.run(run(ticket))


def test_content_survives_byte_for_byte():
    content = bytes(range(256)) + b"\r\n--xY\r\n -xYz and --xYz, almost"
    assert read(Sender([part(content), END])) == [UploadedFile("CHGCAR", content)]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_may_fall_anywhere(size):
    body = part(b"first") + part(b"", filename="empty") + END
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    assert read(Sender(chunks)) == [UploadedFile("CHGCAR", b"first"), UploadedFile("empty", b"")]


def test_other_fields_are_not_kept():
    files = read(Sender([part(b"x" * 5000, name="comment") + part(b"kept") + END]))
    assert files == [UploadedFile("CHGCAR", b"kept")]


def test_declared_length_is_refused_before_a_byte_is_read():
    sender = Sender([b"x"], length=LIMITS.body + 1)
    with pytest.raises(TooLarge, match=r"10001 bytes or more, expected at most 10000"):
        read(sender)
    assert sender.sent == 0


def test_undeclared_length_is_refused_at_the_chunk_that_passes_the_limit():
    sender = Sender([b"x" * 100] * 1000)
    with pytest.raises(TooLarge):
        drain(sender, 1000)
    assert sender.sent == 11


def test_a_lie_about_the_length_does_not_help():
    sender = Sender([b"x" * 100] * 1000, length=50)
    with pytest.raises(TooLarge):
        drain(sender, 1000)
    assert sender.sent == 11


def test_exactly_the_limit_is_fine():
    assert len(b"".join(drain(Sender([b"x" * 500] * 2), 1000))) == 1000


def test_one_file_over_its_limit_leaves_the_others():
    first, second = read(Sender([part(b"x" * 1001), part(b"y" * 1000), END]))
    assert isinstance(first.content, TooLarge)
    assert "1001 bytes, expected at most 1000" in str(first.content)
    assert second.content == b"y" * 1000


def test_too_many_files():
    with pytest.raises(TooLarge, match="more than 3 parts"):
        read(Sender([part(b"x") * 4 + END]))


def test_bytes_of_all_requests_are_bounded():
    with pytest.raises(Overloaded):
        read(Sender([part(b"x" * 500), END]), max_bytes=100)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "closing boundary"),
        (END, "no part named"),
        (part(b"x", name="other") + END, "no part named"),
        (part(b"x"), "closing boundary"),
        (b"this is no form", "not a multipart form"),
    ],
)
def test_broken_forms(body, reason):
    with pytest.raises(RequestRefused, match=reason):
        read(Sender([body]))


@pytest.mark.parametrize("parameters", ["", "; boundary=", "; boundary=" + "b" * 300])
def test_broken_boundaries(parameters):
    with pytest.raises(RequestRefused):
        read(Sender([END], content_type=f"multipart/form-data{parameters}"))


def test_a_sender_who_hangs_up():
    sender = Sender([])
    with pytest.raises(RequestRefused, match="connection closed"):
        read(sender)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("mp-149_CHGCAR.gz", "mp-149_CHGCAR.gz"),
        ("../../etc/passwd", "passwd"),
        ("C:\\\\data\\\\CHGCAR", "CHGCAR"),
        ("", "file"),
        ("a\x07b", "ab"),
        ("n" * 500, "n" * 200),
    ],
)
def test_names(sent, kept):
    assert read(Sender([part(b"x", filename=sent), END]))[0].name == kept


def test_one_content():
    assert one_content([UploadedFile("a", b"x")]) == b"x"
    with pytest.raises(RequestRefused, match="2 parts"):
        one_content([UploadedFile("a", b"x")] * 2)
    with pytest.raises(TooLarge):
        one_content([UploadedFile("a", TooLarge("9 bytes"))])


def test_media_type_without_parameters():
    assert media_type_of(Sender([]).request) == "multipart/form-data"
    assert media_type_of(Sender([], content_type="Application/JSON; charset=utf-8").request) == ("application/json")


def read_json(body: bytes) -> str:
    with Admission(max_requests=1, max_bytes=10**6).enter() as ticket:
        sender = Sender([body], content_type="application/json")
        return asyncio.run(read_uri_input(sender.request, ticket))


def test_json_uri():
    assert read_json(b'{"uri": "s3://bucket/key"}') == "s3://bucket/key"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"uri": 1}', b'{"uri": "s3://b/k", "x": 1}', b"\xff"])
def test_json_that_is_no_uri(body):
    with pytest.raises(RequestRefused, match="expected JSON like"):
        read_json(body)


def test_json_has_a_limit_of_its_own():
    with pytest.raises(InputRefused, match="at most 65536"):
        read_json(b" " * 2**17)
