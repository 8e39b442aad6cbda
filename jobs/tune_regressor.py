"""Search and fit regressors on latents, cross-validated by formula (Ray Tune)."""

import argparse
from typing import Any

from _job import add_uris, parser, positive, run

BLOCKS = ("latent", "magpie", "density", "cell", "elements", "bonds", "superposed")


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(
        __doc__ or "",
        "python jobs/tune_regressor.py --latents data/latents/sample@ae --target bulk_modulus shear_modulus "
        "--model lightgbm --out data/runs/trees",
    )
    add_uris(p, latents="a dataset of latents (from encode), labelled", out="folder of the run")
    p.add_argument("--target", required=True, nargs="+", metavar="NAME", help="label columns to learn")
    p.add_argument(
        "--model",
        required=True,
        choices=("lightgbm", "xgboost", "attention_cnn"),
        help="xgboost runs on xgboost_ray; attention_cnn sees the latent itself",
    )
    p.add_argument(
        "--features",
        default="latent,magpie,density",
        metavar="A,B",
        help="blocks: latent,magpie,density (the default), cell, elements, bonds, superposed",
    )
    p.add_argument("--trials", type=positive, default=20, metavar="N", help="settings tried per target (default 20)")
    p.add_argument("--resume", action="store_true", help="go on with an interrupted search at --out")
    args = p.parse_args()
    unknown = set(args.features.split(",")) - set(BLOCKS)
    if unknown or len(set(args.features.split(","))) < len(args.features.split(",")):
        p.error(f"--features {args.features}: expected each once of {','.join(BLOCKS)}")
    return args


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job."""
    from rhoray.tune.search import SearchConfig, search_regressors

    return search_regressors(
        SearchConfig(
            latents=args.latents,
            targets=args.target,
            out=args.out,
            model=args.model,
            features=args.features.split(","),
            trials=args.trials,
            resume=args.resume,
        )
    )


if __name__ == "__main__":
    run(main, arguments())
