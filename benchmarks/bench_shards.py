"""Bytes a density takes, and what the compact store loses: text, gzip, float32 frame, grid store, compact store.

Takes the densities of --folder (.npz with density, lattice, species, frac_coords), or the packaged sample.
"""

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from _results import write_result

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.frames import FRAME_SHAPE
from rhoray.density.resample import fourier_resample
from rhoray.density.vasp import write_chgcar
from rhoray.sources.items import sample_uri
from rhoray.store.codec import encode_values, to_compact
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density


def densities(folder: Path | None) -> Iterator[ChargeDensity]:
    """Yield the densities to measure."""
    if folder is None:
        for uri in read_manifest(sample_uri()).shards:
            yield from (row_density(row) for row in read_shard(uri))
        return
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as z:
            species = tuple(z["species"].tolist())
            yield ChargeDensity(z["density"].astype(float), z["lattice"], species, z["frac_coords"])


def measure(density: ChargeDensity) -> dict[str, float]:
    """Return bytes by format, and the compact store's misplaced charge and electron error."""
    text = write_chgcar(density).encode()
    compact = to_compact(density)
    frame = fourier_resample(density.values, FRAME_SHAPE)
    back = fourier_resample(compact.values, density.values.shape)
    codec = pa.Codec("zstd", compression_level=1)
    return {
        "CHGCAR, text": len(text),
        "CHGCAR, gzip": len(gzip.compress(text, 6)),
        "128^3 float32": frame.size * 4,
        "grid store": len(codec.compress(encode_values(frame))),
        "compact store": len(codec.compress(encode_values(compact.values))),
        "misplaced": float(np.abs(back - density.values).sum() / density.values.sum()),
        "electrons": abs(compact.n_electrons / density.n_electrons - 1),
    }


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every n-th density")
    args = parser.parse_args()
    rows = [measure(d) for i, d in enumerate(densities(args.folder)) if i % args.every == 0]
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    full = table["128^3 float32"].mean()
    lines = [
        f"{len(rows)} densities.",
        "",
        "| store | bytes a density (mean) | of float32 128^3 |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {name} | {table[name].mean():,.0f} | 1/{full / table[name].mean():.0f} |" for name in list(table)[:5]]
    misplaced = 100 * table["misplaced"]
    lines += [
        "",
        (
            f"Compact against the source: misplaced charge {np.median(misplaced):.3f} % in the median, "
            f"{misplaced.max():.3f} % at most; electron count to {table['electrons'].max():.0e}."
        ),
    ]
    write_result("shards", "Bytes a density", "\n".join(lines) + "\n", ("numpy", "scipy", "pyarrow"))


if __name__ == "__main__":
    main()
