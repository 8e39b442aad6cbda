"""Pages that are made when the site is built, from what they describe: --help, the API's schema, measured results.

A hook of MkDocs (mkdocs.yml). Nothing here is written by hand twice, so that nothing can grow old.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
for folder in (ROOT, ROOT / "platform"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
RESULTS = ROOT / "benchmarks" / "results"
# Pages that may or may not be there, with the section and the title under which they stand.
OPTIONAL = (
    ("How to", "Run a cluster", "how-to/cluster.md"),
    ("How to", "Serve two versions", "how-to/serve-two-versions.md"),
    ("Concepts", "Scale", "concepts/scale.md"),
)
# Pages name the folder, which a reader of the repository can open; the site has one page of it.
RESULTS_LINK = re.compile(r"\]\(\.\./\.\./benchmarks/results(?=[)#])")
MARK = re.compile(r"<!-- result: (?P<theme>[\w-]+)(?: after (?P<after>[^>]+?))? -->")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions, each under its title, and the pages that are there."""
    docs = Path(config.docs_dir)
    sections = {title: pages for entry in config.nav or [] for title, pages in entry.items()}
    for section, title, path in OPTIONAL:
        if (docs / path).is_file():
            sections[section].append({title: path})
    decisions = sorted(docs.glob("decisions/[0-9]*.md"))
    titles = [path.read_text().partition("\n")[0].removeprefix("# ") for path in decisions]
    listed = [{title: f"decisions/{path.name}"} for title, path in zip(titles, decisions, strict=True)]
    sections["Decisions"][:] = ["decisions/README.md", *listed]
    sections["Transcripts"][:] = [f"transcripts/{path.name}" for path in sorted(docs.glob("transcripts/*.md"))]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {
        "reference/command.md": command_page,
        "reference/jobs.md": jobs_page,
        "reference/http.md": http_page,
        "benchmarks/results.md": results_page,
    }
    for path, make in made.items():
        files.append(File.generated(config, path, content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put measured tables where a page asks for them, and lead links to results to their page."""
    markdown = MARK.sub(lambda mark: excerpt(mark["theme"], mark["after"]), markdown)
    up = "../" * page.file.src_uri.count("/")
    return RESULTS_LINK.sub(f"]({up}benchmarks/results.md", markdown)


def command_page() -> str:
    """Return the help of `rhoray` and each of its commands."""
    from rhoray.command.flags import build_parser

    os.environ["COLUMNS"] = "110"
    parser = build_parser()
    (commands,) = (a for a in parser._actions if hasattr(a, "choices") and isinstance(a.choices, dict))  # noqa: SLF001
    parts = [f"## rhoray {name}\n\n```text\n{sub.format_help()}```\n" for name, sub in commands.choices.items()]
    return f"# The command\n\n```text\n{parser.format_help()}```\n\n" + "\n".join(parts)


def jobs_page() -> str:
    """Return the help of every job."""
    from rhoray.command.job_scripts import job_names

    environment = {**os.environ, "COLUMNS": "110"}
    parts = []
    for name in job_names():
        script = str(ROOT / "jobs" / f"{name}.py")
        said = subprocess.run(
            [sys.executable, script, "--help"], capture_output=True, text=True, check=True, env=environment
        )
        parts.append(f"## {name}\n\n```text\n{said.stdout}```\n")
    head = (
        "# Jobs\n\nEach runs as `rhoray jobs NAME`, `python jobs/NAME.py` or `ray job submit --working-dir . -- "
        "python jobs/NAME.py`.\n\n"
    )
    return head + "\n".join(parts)


def http_page() -> str:
    """Return routes, what they take and answer, from the OpenAPI document of the endpoint."""
    from serve.routes import build_api
    from serve.settings import ServeSettings

    api = build_api(ServeSettings(), None, behind_serve=False).openapi()  # type: ignore[arg-type]
    parts = [f"# HTTP\n\n{api['info'].get('description', '')}\n"]
    for path, methods in api["paths"].items():
        parts += [_route(method.upper(), path, about) for method, about in methods.items()]
    parts.append("## Settings\n\n| variable | default | what |\n| --- | --- | --- |")
    for name, field in ServeSettings.model_fields.items():
        parts.append(f"| `RHORAY_{name.upper()}` | `{field.default!r}` | {field.description} |")
    schemas = json.dumps(api["components"]["schemas"], indent=1)
    return "\n".join(parts) + f"\n\n## Schemas\n\n```json\n{schemas}\n```\n"


def _route(method: str, path: str, about: dict[str, Any]) -> str:
    takes = ", ".join(f"`{kind}`" for kind in about.get("requestBody", {}).get("content", {})) or "nothing"
    rows = [
        f"| {status} | {answer['description']} | {', '.join(f'`{kind}`' for kind in answer.get('content', {}))} |"
        for status, answer in about["responses"].items()
    ]
    said = about.get("description") or about.get("summary", "")
    table = "\n".join(["| status | | content |", "| --- | --- | --- |", *rows])
    return f"## {method} {path}\n\n{said}\n\nTakes {takes}.\n\n{table}\n"


def results_page() -> str:
    """Return every file of benchmarks/results, with a table of themes, commands, hardware and dates in front."""
    rows, bodies = [], []
    for path in sorted(RESULTS.glob("*.md")):
        theme, hardware, date = path.stem.rsplit("_", 2)
        text = path.read_text()
        title = text.partition("\n")[0].removeprefix("# ")
        command = next((line.strip() for line in text.splitlines() if line.startswith("    python ")), "")
        rows.append(f"| [{title}](#{theme}) | {hardware} | {date} | `{command}` |")
        rest = re.sub(r"^#", "##", text.partition("\n")[2], flags=re.MULTILINE)
        bodies.append(f"## {title} {{ #{theme} }}\n\n`benchmarks/results/{path.name}`\n{rest}")
    head = "# Every result\n\nAs the scripts wrote them; the commands run in `benchmarks/`.\n\n"
    table = "\n".join(["| what | hardware | date | command |", "| --- | --- | --- | --- |", *rows])
    return f"{head}{table}\n\n" + "\n\n".join(bodies) + "\n"


def excerpt(theme: str, after: str | None) -> str:
    """Return the first table of a result, or the first one behind a line that begins with `after`, and its source.

    Raises:
        PluginError: there is no such result or table.
    """
    paths = sorted(RESULTS.glob(f"{theme}_*.md"), key=lambda path: path.stem.rsplit("_", 1)[1])
    if not paths:
        raise PluginError(f"no benchmarks/results/{theme}_*.md")
    text = paths[-1].read_text()
    if after is not None:
        _, found, text = text.partition(f"\n{after}")
        if not found:
            raise PluginError(f"{paths[-1].name} has no line that begins with {after!r}")
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    if table is None:
        raise PluginError(f"{paths[-1].name}: no table")
    whole = paths[-1].read_text()
    command = next(line.strip() for line in whole.splitlines() if line.startswith("    python "))
    _, hardware, date = paths[-1].stem.rsplit("_", 2)
    return f"{table[0]}\n*`{command}`, {hardware}, {date} ([whole result](../../benchmarks/results#{theme}))*\n"
