"""Files are parsed a few at once, and who no longer waits takes his file out of the queue."""

import asyncio
import gzip
import threading

import pytest

from rhoray.core.errors import InputRefused, TooLarge
from rhoray.inference.predictor import read_input
from serve import parsing
from serve.canary import CANARY_ELECTRONS, canary_file, parse_canary
from serve.parsing import LIGHT_BYTES, FileParser, parse


def test_the_same_density_as_everywhere():
    parsed = parse(canary_file(), limit=2**20, keep_given=True)
    assert (parsed.density.values == read_input(canary_file()).values).all()
    assert parsed.given.n_electrons == pytest.approx(CANARY_ELECTRONS)
    assert parse(canary_file(), limit=2**20).given is None
    parse_canary()


def test_limit():
    with pytest.raises(TooLarge):
        asyncio.run(FileParser(1, limit=100).parse(canary_file()))


def light(content, *, limit=2**30, **options):
    return asyncio.run(FileParser(1, limit=limit).parse_light(content, **options))


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_light_file_is_the_same_density(packed):
    parsed = light(packed(canary_file()), keep_given=True)
    assert (parsed.density.values == read_input(canary_file()).values).all()
    assert parsed.given.n_electrons == pytest.approx(CANARY_ELECTRONS)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(canary_file().ljust(LIGHT_BYTES + 1), id="large"),
        pytest.param(gzip.compress(canary_file().ljust(LIGHT_BYTES + 1)), id="large once unpacked"),
        pytest.param(gzip.compress(bytes(2**27)), id="bomb"),
        pytest.param(b"Si\n5.43\n0 .5 .5\n.5 0 .5\n.5 .5 0\nSi\n2\nDirect\n0 0 0\n.25 .25 .25\n", id="structure"),
    ],
)
def test_what_is_not_light_is_left_to_others(content):
    assert light(content) is None


def test_a_limit_below_light_is_for_others_to_tell():
    assert light(canary_file(), limit=100) is None


def test_a_light_file_is_refused_at_once():
    with pytest.raises(InputRefused):
        light(b"no density")


def test_who_goes_away_takes_his_file_along(monkeypatch):
    """The first file occupies the only thread; of two that wait, the one whose sender left is never read."""
    read, first_is_in, may_end = [], threading.Event(), threading.Event()

    def slow(content, **options):
        read.append(content)
        first_is_in.set()
        may_end.wait(5)
        return content

    monkeypatch.setattr(parsing, "parse", slow)

    async def run():
        parser = FileParser(1, limit=1)
        tasks = [asyncio.create_task(parser.parse(content)) for content in (b"first", b"left", b"stayed")]
        await asyncio.to_thread(first_is_in.wait, 5)
        tasks[1].cancel()
        await asyncio.sleep(0.05)
        may_end.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, left, stayed = asyncio.run(run())
    assert (first, stayed) == (b"first", b"stayed")
    assert isinstance(left, asyncio.CancelledError)
    assert read == [b"first", b"stayed"]


def test_a_refusal_is_one():
    with pytest.raises(InputRefused):
        parse(b"no density", limit=100)
