"""Ingest densities into a dataset of shards with a manifest (Ray Data)."""

import argparse
from typing import Any

from _job import add_selection, add_uris, parser, run


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(__doc__ or "", "python jobs/ingest.py --source sample: --out data/densities/sample")
    add_uris(
        p,
        source="sample: (packaged), mp:mp-149,mp-30 (Materials Project, by task id; mp:material:… by material id), a "
        "dataset, or any prefix of CHGCAR, CHG, cube, CIF or POSCAR files (.gz, .bz2, .xz too); a Parquet table with a "
        "column poscar or cif is one crystal a row",
        out="the dataset to write",
    )
    p.add_argument("--labels", metavar="URI", help="CSV or Parquet with material_id and one column per target")
    p.add_argument(
        "--store",
        choices=("compact", "grid"),
        default="compact",
        help="compact: band-limited on the smallest grid (about 30 kB each); grid: finished 128^3 frames (4 MB)",
    )
    add_selection(p)
    return p.parse_args()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job."""
    from rhoray.pipeline.ingest import IngestConfig, ingest

    return ingest(IngestConfig(**vars(args)))


if __name__ == "__main__":
    run(main, arguments())
