"""docs/reference/datasets.md says what the code does."""

import re
import subprocess
import sys
from pathlib import Path

from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.schema import DENSITY_SCHEMA, MANIFEST_SCHEMA, SCHEMA_VERSION

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "datasets.md").read_text()


def test_every_column_is_described():
    words = set(re.findall(r"\w+", PAGE))
    assert set(DENSITY_SCHEMA.names) | set(MANIFEST_SCHEMA.names) <= words
    assert f"(now {SCHEMA_VERSION})" in PAGE


def test_the_snippet_reads_a_shard_without_rhoray(tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "read.py").write_text(snippet)
    manifest = read_manifest(sample_uri())
    shard = manifest.shards[0].removeprefix("file://")
    run = subprocess.run([sys.executable, "read.py", shard], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert len(lines) == (manifest.written.shard == "part-0.parquet").sum()
    assert "rhoray" not in snippet
    assert lines[0].startswith(manifest.written.material_id[0])
