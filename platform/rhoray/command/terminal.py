"""What is printed: lines, in colour where a person looks at them (https://no-color.org)."""

import os
import sys

ESCAPE = "\x1b["
CODES = {"bold": "1", "red": "31", "green": "32", "yellow": "33"}


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{text}\n")


def in_colour() -> bool:
    """Return whether standard output is a terminal that shows colour, and nobody has asked for none."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    """Return `text` in a colour of CODES, or as it is."""
    return f"{ESCAPE}{CODES[colour]}m{text}{ESCAPE}0m" if in_colour() else text


def bold(text: str) -> str:
    """Return `text` in bold, or as it is."""
    return paint(text, "bold")
