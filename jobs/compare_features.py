"""Compare what composition, cell, density and latent add to a regressor, by random and grouped cross-validation."""

import argparse
from typing import Any

from _job import add_uris, parser, positive, run


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(
        __doc__ or "",
        "python jobs/compare_features.py --latents data/latents/sample --target bulk_modulus shear_modulus "
        "--out data/reports/features",
    )
    add_uris(p, latents="a dataset of latents (from encode), labelled", out="folder of the report")
    p.add_argument("--target", required=True, nargs="+", metavar="NAME", help="label columns")
    p.add_argument("--folds", type=positive, default=5, metavar="N", help="folds (default 5)")
    p.add_argument("--repeats", type=positive, default=3, metavar="N", help="repeats with other folds (default 3)")
    return p.parse_args()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job."""
    from rhoray.tune.compare import CompareConfig, compare_features

    return compare_features(
        CompareConfig(latents=args.latents, targets=args.target, out=args.out, folds=args.folds, repeats=args.repeats)
    )


if __name__ == "__main__":
    run(main, arguments())
