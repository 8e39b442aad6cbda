"""Predict every density of a source; the batch twin of the endpoint (Ray Data)."""

import argparse
from typing import Any

from _job import add_uris, parser, run


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(
        __doc__ or "",
        "python jobs/predict.py --bundle pretrained: --source chgcars/ --out predictions.csv",
    )
    add_uris(
        p,
        bundle="a bundle (from publish) or pretrained:",
        source="whatever ingest reads: files, a dataset, sample:",
    )
    p.add_argument("--out", required=True, metavar="FILE", help=".csv or .parquet, a path or URI")
    args = p.parse_args()
    if not args.out.endswith((".csv", ".parquet")):
        p.error(f"--out {args.out}: expected a name that ends in .csv or .parquet")
    return args


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job."""
    from rhoray.pipeline.predict import predict

    return predict(args.bundle, args.source, args.out)


if __name__ == "__main__":
    run(main, arguments())
