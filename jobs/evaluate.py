"""Evaluate a bundle on the crystals of a dataset that it has not seen."""

import argparse
from typing import Any

from _job import parser, run


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(
        __doc__ or "",
        "python jobs/evaluate.py --bundle data/bundles/mine --data data/densities/sample --out data/reports/mine",
    )
    p.add_argument("--bundle", required=True, metavar="URI", help="a bundle (from publish) or pretrained:")
    p.add_argument("--data", required=True, metavar="URI", help="a labelled dataset of densities (from ingest)")
    p.add_argument("--out", required=True, metavar="URI", help="folder of the report")
    return p.parse_args()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job."""
    from rhoray.pipeline.evaluate import evaluate_bundle

    return evaluate_bundle(args.bundle, args.data, args.out)


if __name__ == "__main__":
    run(main, arguments())
