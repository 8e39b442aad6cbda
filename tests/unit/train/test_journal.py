"""The journal can be read at any moment, by a person, by a script and by TensorBoard."""

import json
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from rhoray.core.storage import find, read_bytes
from rhoray.models.autoencoder import AutoencoderConfig, build_autoencoder
from rhoray.train import journal
from rhoray.train.journal import Journal, Pace
from rhoray.train.loop import Running, start_state
from rhoray.train.recipes import Recipe

METRICS = {
    "val_density_error_median": 0.01, "val_density_error_p95": 0.02, "val_density_error_worst": 0.03,
    "volumes_per_second": 5.0, "data_wait_seconds": 0.5, "learning_rate": 1e-3, "epoch": 1.0,
}  # fmt: skip


@pytest.fixture
def state():
    recipe = Recipe(name="small", network=AutoencoderConfig(width=4, depth=1))
    fresh = start_state(build_autoencoder(recipe.network), recipe, steps_per_epoch=2)
    fresh.running = Running(0.5, 8, 1.0, 0.1)
    return fresh


def events(content: bytes) -> dict[str, list[tuple[int, float]]]:
    """Read a file of events: records of a length, its checksum, the bytes and theirs."""
    found: dict[str, list[tuple[int, float]]] = {}
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        content = content[16 + length :]
    return found


@pytest.mark.parametrize("place", ["file", "s3"])
def test_a_reader_finds_everything_up_to_the_last_flush(place, state, tmp_path, store, bucket):
    out = str(tmp_path) if place == "file" else f"{bucket}/journal"
    written = Journal(out, epochs=2, steps=2)
    for step in (1, 2):
        state.step = step
        written.on_step(state, 0.25 / step)
    state.epoch, state.step = 1, 0
    state.history.append(METRICS)
    written.on_epoch(METRICS, state)
    written.flush(state)
    # Nothing is closed: as a kill would leave it.
    lines = read_bytes(f"{out}/metrics.jsonl").decode().splitlines()
    assert [json.loads(line) for line in lines] == [METRICS]
    (file,) = find(f"{out}/tensorboard")
    found = events(read_bytes(file.uri))
    assert found["step/train_loss"] == [(1, 0.25), (2, 0.125)]
    for name, value in METRICS.items():
        assert found[f"epoch/{name}"] == [(1, pytest.approx(value))]
    written.close()


def test_a_long_epoch_says_how_far_it_is(state, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(journal, "SPEAK_EVERY_S", 0.0)
    written = Journal(str(tmp_path), epochs=2, steps=10)
    for step in (1, 2):
        state.step = step
        written.on_step(state, 0.25)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("epoch 1/2: step 2/10, loss 0.25, 8.0 volumes/s, 0:")
    assert line.endswith("to go")
    written.close()


def test_an_error_at_rounding_is_not_said_to_be_nothing(state, tmp_path, capsys):
    written = Journal(str(tmp_path), epochs=2, steps=10)
    state.epoch = 1
    written.on_epoch({**METRICS, "val_density_error_median": 4.6e-7, "val_density_error_worst": 8.1e-5}, state)
    said = capsys.readouterr().out
    assert said == "epoch 1/2: density error 0.000046 % median, 0.0081 % worst; 5.0 volumes/s\n"
    written.close()


def test_the_pace_is_that_of_this_process(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace()
    pace.count(50)  # resumed there
    now[0] += 10
    pace.count(55)
    assert pace.seconds_for(20) == pytest.approx(40)
