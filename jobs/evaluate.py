"""Evaluate a bundle on the crystals of a dataset that it has not seen."""

import argparse
from typing import Any

from _job import add_uris, parser, run


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(
        __doc__ or "",
        "python jobs/evaluate.py --bundle data/bundles/mine --data data/densities/sample --out data/reports/mine",
    )
    add_uris(
        p,
        bundle="a bundle (from publish) or pretrained:",
        data="a labelled dataset of densities (from ingest)",
        out="folder of the report",
    )
    return p.parse_args()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job."""
    from rhoray.pipeline.evaluate import evaluate_bundle

    return evaluate_bundle(args.bundle, args.data, args.out)


if __name__ == "__main__":
    run(main, arguments())
