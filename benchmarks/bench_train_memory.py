"""Does training take more memory where there are more shards? Eight, 32 and 128 times the same shard.

The shard is one of a grid store, whose rows are a hundred times larger than compact ones. Each run trains on as many
crystals in all: sixteen epochs of eight shards, four of 32, one of 128. A small network, so that data weigh; eight
shards already hold more than a reader keeps at once.
"""

import io
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from _memory import peak_memory
from _results import write_result

from rhoray.core.storage import read_bytes
from rhoray.models.autoencoder import AutoencoderConfig
from rhoray.pipeline.cluster import connect
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.store.manifest import Manifest, read_manifest, write_manifest
from rhoray.store.shards import ROW_GROUP
from rhoray.train.autoencoder import train_autoencoder
from rhoray.train.recipes import get_recipe

FACTORS = (8, 32, 128)
CRYSTALS = 12


def repeat(source: Manifest, uri: str, factor: int) -> None:
    """Write a dataset of so many copies of a small dataset as one shard, each crystal under another name."""
    table = pa.concat_tables([pq.read_table(io.BytesIO(read_bytes(shard))) for shard in source.shards])
    place = table.schema.get_field_index("material_id")
    Path(uri).mkdir()
    copies = []
    for copy in range(factor):
        names = pa.array([f"{name}-{copy}" for name in table["material_id"].to_pylist()])
        renamed = table.set_column(place, table.schema.field(place), names)
        pq.write_table(renamed, f"{uri}/part-{copy}.parquet", row_group_size=ROW_GROUP)
        rows = source.written
        # The crystals to judge by stay as many.
        split = rows.split.where((rows.split == "train") | (copy == 0), "test")
        copies.append(rows.assign(material_id=names.to_pylist(), shard=f"part-{copy}.parquet", split=split))
    write_manifest(Manifest(f"file://{uri}", pd.concat(copies, ignore_index=True), source.card))


def child(data: str, out: str, epochs: int) -> None:
    """Train, and print the peak in GB and the crystals trained on."""
    recipe = replace(get_recipe("patch", epochs=epochs), network=AutoencoderConfig(width=4, depth=1))
    with peak_memory(os.getpid()) as peak, connect():
        train_autoencoder(data, out, recipe, workers=2)
    Path(f"{out}.txt").write_text(str(peak.gigabytes))


def main() -> None:
    """Measure and write the table."""
    if len(sys.argv) > 1:
        child(sys.argv[1], sys.argv[2], int(sys.argv[3]))
        return
    lines = ["| shards | MB in them | train crystals | epochs | peak memory of all processes, GB |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        with connect():
            ingest(IngestConfig(source="sample:", out=f"{folder}/once", limit=CRYSTALS, store="grid"))
        source = read_manifest(f"{folder}/once")
        for factor in FACTORS:
            uri, out, epochs = f"{folder}/x{factor}", f"{folder}/out{factor}", FACTORS[-1] // factor
            repeat(source, uri, factor)
            subprocess.run(
                [sys.executable, __file__, uri, out, str(epochs)],
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            peak = float(Path(f"{out}.txt").read_text())
            megabytes = sum(path.stat().st_size for path in Path(uri).glob("part-*")) / 1e6
            train = (read_manifest(uri).written.split == "train").sum()
            lines.append(f"| {factor} | {megabytes:.0f} | {train} | {epochs} | {peak:.2f} |")
            print(lines[-1], flush=True)
    write_result("train-memory", "Memory of training", "\n".join([*lines, ""]), ("ray", "torch", "pyarrow"))


if __name__ == "__main__":
    main()
