"""A bar is seen on every terminal, also on one that tells no width, and speaks now and then in a log."""

import contextlib
import os
import pty
import sys

import pytest

from rhoray.pipeline.progress import COLUMNS, progress_bar


def everything(terminal):
    """What was written to a terminal that is closed by now; a read may give it in pieces."""
    pieces = []
    with contextlib.suppress(OSError):  # how Linux says that there is no more
        while piece := os.read(terminal, 4096):
            pieces.append(piece)
    return b"".join(pieces).decode()


@pytest.mark.parametrize(("columns", "expected"), [(0, COLUMNS), (60, 60)])
def test_on_a_terminal(columns, expected, monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, columns and 24)))
        monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (columns, 24))
        with progress_bar(4, "predict", "crystals") as bar:
            bar.update(4)
    shown = everything(ours)
    os.close(ours)
    line = shown.rstrip("\r\n").rpartition("\r")[2]
    assert "4/4" in line
    assert expected - 2 <= len(line) <= expected


def test_hidden(capsys):
    with progress_bar(4, "predict", "files", hidden=True) as bar:
        bar.update(4)
    assert capsys.readouterr().err == ""
