"""A URI is read only when it is plainly below an allowed prefix, and never beyond the limit."""

import pytest

from rhoray.core.errors import TooLarge, Unavailable
from serve.problems import Forbidden, NotThere
from serve.uris import check_uri, read_uri

PREFIXES = ["s3://bucket/open/", "s3://other"]


@pytest.mark.parametrize("uri", ["s3://bucket/open/a.gz", "s3://bucket/open/deep/a+b=c_CHGCAR", "s3://other/a"])
def test_below_a_prefix(uri):
    assert check_uri(uri, PREFIXES) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/secret/a",
        "s3://bucket/opened/a",
        "s3://bucket/open",
        "s3://bucket/open/",
        "s3://bucket/open/../secret/a",
        "s3://bucket/open/./a",
        "s3://bucket/open//a",
        "s3://bucket/open/%2e%2e/secret/a",
        "s3://bucket/open/..\\secret",
        "s3://bucket/open/a?versionId=1",
        "s3://bucket/open/a#b",
        "s3://bucket/open/*",
        "s3://bucket/open/[a]",
        "s3://bucket/open/a::file:///etc/passwd",
        "simplecache::s3://bucket/open/a",
        "s3://bucket/open/a\nb",
        "s3://bucket/open/a b",
        "s3://bucket/open-evil/a",
        "s3://bucket/open/.../../secret/a",
        "s3://bucket/open/a/",
        "s3://bucket/open/a/..",
        "s3://bucket/open/%2E%2E%2Fsecret",
        "s3://bucket/open/\u2025/secret/../a",
        "s3://user:pass@bucket/open/a",
        "s3://bucket:443/open/a",
        "s3://BUCKET/open/a",
        "s3a://bucket/open/a",
        "s3:/bucket/open/a",
        "s3:///bucket/open/a",
        "//bucket/open/a",
        "http://bucket/open/a",
        "https://bucket.s3.amazonaws.com/open/a",
        "ftp://bucket/open/a",
        "github://org:repo@main/a",
        "zip://a::s3://bucket/open/b.zip",
        "data:text/plain,a",
        "file://localhost/etc/passwd",
        "file:/etc/passwd",
        "s3://other.example.org/a",
        "s3://other@evil/a",
        "S3://bucket/open/a",
        "file:///etc/passwd",
        "/etc/passwd",
        "etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "",
    ],
)
def test_anything_else_is_forbidden(uri):
    with pytest.raises(Forbidden):
        check_uri(uri, PREFIXES)


def test_no_prefixes_no_uris():
    with pytest.raises(Forbidden, match="RHORAY_URI_PREFIXES"):
        check_uri("s3://bucket/open/a", [])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "CHGCAR").write_bytes(b"0123456789")
    (tmp_path / "open" / "empty").write_bytes(b"")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "open" / "way_out").symlink_to(tmp_path / "secret")
    (tmp_path / "open" / "way_round").symlink_to(tmp_path / "open" / "CHGCAR")
    return tmp_path


def test_a_link_must_not_lead_out(folder):
    prefix = f"file://{folder}/open"
    assert check_uri(f"{prefix}/way_round", [prefix])
    with pytest.raises(Forbidden):
        check_uri(f"{prefix}/way_out", [prefix])


def test_a_prefix_may_itself_be_a_link(folder):
    (folder / "alias").symlink_to(folder / "open")
    assert check_uri(f"file://{folder}/alias/CHGCAR", [f"file://{folder}/alias"])


def test_read(folder):
    assert read_uri(f"file://{folder}/open/CHGCAR", limit=10) == b"0123456789"
    assert read_uri(f"file://{folder}/open/empty", limit=10) == b""


def test_read_over_the_limit(folder):
    with pytest.raises(TooLarge, match="more than 9 bytes"):
        read_uri(f"file://{folder}/open/CHGCAR", limit=9)


@pytest.mark.parametrize("name", ["absent", ""])
def test_nothing_there(folder, name):
    with pytest.raises(NotThere):
        read_uri(f"file://{folder}/open/{name}", limit=9)


def test_a_storage_that_denies(monkeypatch, folder):
    monkeypatch.setattr("serve.uris._read_limited", denied)
    with pytest.raises(Unavailable) as caught:
        read_uri(f"file://{folder}/open/CHGCAR", limit=9)
    assert caught.value.code == "unavailable"
    assert "key AKIA" not in str(caught.value)


def denied(uri, limit):
    raise PermissionError("key AKIA has no access")
