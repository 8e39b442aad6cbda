"""A bar is seen on every terminal, also on one that tells no width, and speaks now and then in a log."""

import os
import pty
import sys

import pytest

from rhoray.pipeline.progress import COLUMNS, progress_bar


@pytest.mark.parametrize(("columns", "expected"), [(0, COLUMNS), (60, 60)])
def test_on_a_terminal(columns, expected, monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, columns and 24)))
        monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (columns, 24))
        with progress_bar(4, "predict", "crystals") as bar:
            bar.update(4)
        shown = os.read(ours, 4096).decode()
    os.close(ours)
    line = shown.rstrip("\r\n").rpartition("\r")[2]
    assert "4/4" in line
    assert expected - 2 <= len(line) <= expected


def test_hidden(capsys):
    with progress_bar(4, "predict", "files", hidden=True) as bar:
        bar.update(4)
    assert capsys.readouterr().err == ""
