"""The commands and Python snippets of a page: fenced blocks, and README's indented ones."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# How a line begins that a person is to type; other indented lines show output.
TYPED = re.compile(r"(?:\$ )?((?:rhoray|python|ray|serve|make|curl|pip|source|export|git|gpaw|sudo|CC=g\+\+)\b.*)")


@dataclass(frozen=True)
class Snippet:
    """What one page tells a reader to run.

    Attributes:
        page: the file, from the repository's root.
        language: `bash` or `python`.
        text: one command, or a whole Python snippet.
    """

    page: str
    language: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of a command, its trailing comment left out."""
        return shlex.split(self.text, comments=True)


def snippets(path: Path) -> list[Snippet]:
    """Return everything that a page tells a reader to run, in its order."""
    text, page = path.read_text(), str(path.relative_to(ROOT))
    found = []
    for language, body in FENCE.findall(text):
        if language == "python":
            found.append(Snippet(page, "python", body))
        elif language == "bash":
            found += [Snippet(page, "bash", line) for line in body.splitlines() if line.strip()]
    for line in FENCE.sub("", text).splitlines():
        typed = TYPED.match(line[4:]) if line.startswith("    ") else None
        if typed:
            found.append(Snippet(page, "bash", typed[1]))
    return found


EVERYTHING = [snippet for path in PAGES if path.is_file() for snippet in snippets(path)]
