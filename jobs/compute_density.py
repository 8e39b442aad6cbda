"""Compute PBE densities of structures by GPAW, one crystal a task (Ray Data)."""

import argparse
from typing import Any

from _job import add_selection, add_uris, parser, positive, run


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(__doc__ or "", "python jobs/compute_density.py --structures my-cifs --out data/densities/mine")
    add_uris(
        p,
        structures="any prefix of CIF or POSCAR files, a Parquet table with a column poscar or cif, or whatever else "
        "ingest takes: of densities only the crystal is used",
        out="the dataset of densities to write",
    )
    p.add_argument(
        "--accuracy",
        choices=("reference", "standard"),
        default="reference",
        help="reference: 350 eV and 1.6 A of k-points, as the packaged sample; standard: 500 eV and 3.2 A",
    )
    p.add_argument(
        "--cpu-limit",
        type=positive,
        default=86400,
        metavar="SECONDS",
        help="give up a crystal whose SCF takes more CPU seconds (default: %(default)s, one day); it is quarantined",
    )
    add_selection(p)
    return p.parse_args()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job; what is missing is said before Ray starts."""
    from rhoray.density.gpaw_scf import require_gpaw
    from rhoray.pipeline.cluster import connect

    require_gpaw()
    from rhoray.pipeline.compute_density import ComputeConfig, compute_density

    with connect():
        return compute_density(ComputeConfig(**vars(args)))


if __name__ == "__main__":
    run(main, arguments(), on_ray=False)
