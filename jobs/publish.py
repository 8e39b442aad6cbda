"""Publish an encoder and its regressors as a versioned bundle."""

import argparse
from typing import Any

from _job import add_uris, parser, run


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(
        __doc__ or "",
        "python jobs/publish.py --encoder data/runs/ae --regressors data/runs/trees --out data/bundles/mine",
    )
    add_uris(
        p,
        encoder="the --out of train_ae, or a bundle",
        out="folder of all versions; its last part is the name",
    )
    p.add_argument(
        "--regressors",
        required=True,
        nargs="+",
        metavar="URI",
        help="each the --out of tune_regressor, or a bundle; the first that offers a target wins",
    )
    return p.parse_args()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job."""
    from rhoray.registry.bundle import publish

    return publish(args.encoder, args.regressors, args.out)


if __name__ == "__main__":
    run(main, arguments(), on_ray=False)
