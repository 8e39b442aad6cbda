"""Does feeding ever starve training? Frames a second from each kind of storage beside what training consumes.

Every source goes through Ray Data to one consumer, which ends with a float32 tensor of 128^3 frames in its hands; the
compact and grid stores as training workers read them, the float32 grids as one .npy an object, as anybody would
keep them. Training is the bare loop of the default recipe with its frames already in memory. Same cores for all.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import ray.data
import torch
from _memory import peak_memory
from _results import write_result

from rhoray.core.storage import find, read_bytes, write_bytes
from rhoray.density.frames import to_frame
from rhoray.local.object_store import object_store
from rhoray.models.autoencoder import build_autoencoder
from rhoray.models.frames import frames_tensor
from rhoray.pipeline.batches import plan_dataset
from rhoray.pipeline.cluster import connect
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.pipeline.order import Crystals, Plan, crystals_of, window_rows
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density
from rhoray.train.feed import Feed
from rhoray.train.loop import Batch, run_epochs, start_state
from rhoray.train.recipes import get_recipe

BUCKET = "bench"
BATCH = 8
Frames = Iterator[torch.Tensor]


def from_store(uri: str) -> Callable[[], Frames]:
    """Return a function that reads one epoch of a dataset, all splits of it, as a training worker does."""
    manifest = read_manifest(uri)
    manifest.rows["split"] = "train"
    train = crystals_of(manifest, "train")
    plan = Plan(
        train=train, val=Crystals([], train.shard[:0], []), seed=0, epochs=1, batch=BATCH, window=window_rows(manifest)
    )

    def epoch() -> Frames:
        tables = plan_dataset(plan).iter_batches(batch_size=None, batch_format="pyarrow")
        feed = Feed(plan, tables, get_recipe("patch"), torch.device("cpu"))
        return (batch.frames for batch in feed.train(0))

    return epoch


def from_arrays(uri: str) -> Callable[[], Frames]:
    """Return a function that reads one epoch of .npy objects."""
    rows = [{"uri": stat.uri} for stat in find(uri)]

    def read(row: dict) -> dict:
        return {"frame": np.load(io.BytesIO(read_bytes(row["uri"])))}

    def epoch() -> Frames:
        dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows) // 4)).map(read)
        return (torch.from_numpy(b["frame"].copy())[:, None] for b in dataset.iter_batches(batch_size=BATCH))

    return epoch


def rate(epoch: Callable[[], Frames]) -> tuple[float, float]:
    """Return frames a second of the second epoch, and the peak memory in GB of this process, Ray and its workers."""
    sum(len(frames) for frames in epoch())
    with peak_memory(os.getpid()) as peak:
        started = time.perf_counter()
        count = sum(len(frames) for frames in epoch())
        seconds = time.perf_counter() - started
    return count / seconds, peak.gigabytes


def consumption(epochs: int) -> float:
    """Return the volumes a second that the default recipe trains on when its frames are there already."""
    rows = [row for row, _ in zip(read_shard(read_manifest(sample_uri()).shards[0]), range(16), strict=False)]
    frames = [
        Batch([r["material_id"] for r in part], frames_tensor([row_density(r) for r in part], "cell").__getitem__)
        for part in (rows[:8], rows[8:])
    ]
    recipe = get_recipe("patch", epochs=epochs)
    state = start_state(build_autoencoder(recipe.network), recipe, steps_per_epoch=2)
    found: list[float] = []
    run_epochs(
        state, recipe, lambda _: frames, lambda _: [], on_epoch=lambda m, _: found.append(m["volumes_per_second"])
    )
    return float(np.median(found))


def write_arrays(base: str, count: int) -> None:
    """Write frames as .npy objects of 8.4 MB."""
    rows = (row for uri in read_manifest(sample_uri()).shards for row in read_shard(uri))
    for row, _ in zip(rows, range(count), strict=False):
        buffer = io.BytesIO()
        np.save(buffer, to_frame(row_density(row), "cell"))
        write_bytes(f"{base}/{row['material_id']}.npy", buffer.getvalue())


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=96, help="frames of the float32 and grid stores")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, object_store(Path(folder) / "s3", BUCKET) as store:
        os.environ.update(store.environment)
        with connect():
            s3 = f"s3://{BUCKET}"
            ingest(IngestConfig(source="sample:", out=f"{s3}/compact"))
            ingest(IngestConfig(source="sample:", out=f"{s3}/grid", store="grid", limit=args.count))
            for base in (f"{folder}/npy", f"{s3}/npy"):
                write_arrays(base, args.count)
            trained = [consumption(6)]
            sources = {
                "compact shards, S3": from_store(f"{s3}/compact"),
                "grid shards (float16), S3": from_store(f"{s3}/grid"),
                "float32 .npy, local disk": from_arrays(f"{folder}/npy"),
                "float32 .npy, S3": from_arrays(f"{s3}/npy"),
            }
            found = {name: rate(epoch) for name, epoch in sources.items()}
            trained.append(consumption(6))
    need = max(trained)
    rows = [f"| {name} | {r:.1f} | {r / need:.1f} | {peak:.2f} |" for name, (r, peak) in found.items()]
    said = (
        f"Recipe `patch` (batch {BATCH}) consumes {trained[0]:.1f} volumes/s before the other runs "
        f"and {trained[1]:.1f} after them; the ratio is against the larger."
    )
    body = "\n".join(
        [
            said,
            "",
            "| source | 128^3 frames/s | times what training consumes | peak memory of all processes, GB |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"300 crystals from the compact shards, {args.count} from the others.",
            "",
        ]
    )
    write_result("feed", "Feeding training", body, ("ray", "torch", "numpy", "pyarrow", "s3fs"))


if __name__ == "__main__":
    main()
