"""Where a run can't be kept it does not begin; what was kept comes back; what is written is whole."""

import errno
import os
import subprocess

import pytest
import torch

from rhoray.core.errors import RunError
from rhoray.models.autoencoder import AutoencoderConfig, build_autoencoder
from rhoray.train.autoencoder import train_autoencoder
from rhoray.train.checkpoints import Checkpoints, check_room, checkpoints_of, forget_others
from rhoray.train.loop import start_state
from rhoray.train.recipes import Recipe, get_recipe

RECIPE = Recipe(name="small", network=AutoencoderConfig(width=8, depth=1))


@pytest.fixture
def state():
    torch.manual_seed(0)
    return start_state(build_autoencoder(RECIPE.network), RECIPE, steps_per_epoch=2)


@pytest.fixture
def mounted(tmp_path):
    """Mount a small file system in memory with more options; skip where that takes rights we lack."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(options: str) -> str:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("no mount here")
        if done.returncode:
            pytest.skip("may not mount")
        return str(folder)

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def check_fails_before_reading(out: str, reason: str) -> None:
    """The data do not exist: whoever looked at them first would say so."""
    with pytest.raises(RunError, match=reason) as caught:
        train_autoencoder("/nowhere/at/all", out, get_recipe("patch"))
    assert "\n" not in str(caught.value)
    assert "checkpoint of" in str(caught.value)


def test_a_full_disk(mounted):
    check_fails_before_reading(f"{mounted('size=2m')}/run", os.strerror(errno.ENOSPC))


def test_a_read_only_file_system(mounted):
    check_fails_before_reading(f"{mounted('size=64m,ro')}/run", os.strerror(errno.EROFS))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    check_fails_before_reading(f"{tmp_path}/run", os.strerror(errno.EACCES))


def test_a_file_where_the_run_should_lie(tmp_path):
    (tmp_path / "run").write_text("no folder")
    check_fails_before_reading(f"{tmp_path}/run", "run")


def test_a_bucket_that_is_not_there(store):
    check_fails_before_reading("s3://no-such-bucket/run", "no-such-bucket")


def test_room_is_looked_for_without_a_trace(tmp_path):
    check_room(str(tmp_path / "run"), 1000)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_was_kept_comes_back(state, tmp_path):
    kept = Checkpoints(f"file://{tmp_path}")
    assert kept.last() is None
    state.epoch, state.step = 1, 1
    kept.save_last(state)
    kept.save_best(state)
    loaded = kept.last()
    assert (loaded["epoch"], loaded["step"]) == (1, 1)
    fresh = start_state(build_autoencoder(RECIPE.network), RECIPE, steps_per_epoch=2)
    fresh.load_checkpoint(loaded)
    for name, tensor in fresh.model.state_dict().items():
        assert torch.equal(tensor, state.model.state_dict()[name])
        assert torch.equal(kept.best()["model"][name], state.judged.state_dict()[name])


def test_earlier_runs_and_half_written_files_are_forgotten(state, tmp_path):
    old, new = (checkpoints_of(str(tmp_path), name) for name in ("old", "new"))
    for checkpoints in (old, new):
        checkpoints.save_last(state)
    half = tmp_path / "checkpoints" / "new" / ".last.pt.0123abcd.tmp"
    half.write_bytes(b"half")
    forget_others(str(tmp_path), "new")
    assert old.last() is None
    assert new.last() is not None
    assert not half.exists()
