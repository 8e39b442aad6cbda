"""Encode a dataset of densities into latents of 16 x 16 x 16 x 16 (Ray Data)."""

import argparse
from typing import Any

from _job import add_uris, parser, run


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(
        __doc__ or "",
        "python jobs/encode.py --data data/densities/sample --model data/runs/ae --out data/latents/sample@ae",
    )
    add_uris(
        p,
        data="a dataset of densities (from ingest)",
        model="the --out of train_ae, or a bundle",
        out="the dataset of latents to write",
    )
    return p.parse_args()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job."""
    from rhoray.pipeline.encode import encode

    return encode(args.data, args.model, args.out)


if __name__ == "__main__":
    run(main, arguments())
