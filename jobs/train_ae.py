"""Train the autoencoder, data-parallel (Ray Train)."""

import argparse
from typing import Any

from _job import add_uris, parser, positive, run


def arguments() -> argparse.Namespace:
    """Read the flags."""
    p = parser(
        __doc__ or "",
        "python jobs/train_ae.py --data data/densities/sample --out data/runs/ae --epochs 3",
    )
    add_uris(p, data="a dataset of densities (from ingest)", out="folder of the run")
    p.add_argument(
        "--recipe",
        choices=("zones", "patch", "paper"),
        help="zones: the most exact, frame cell (default there); patch: any frame (default for padded and box); "
        "paper: that of arXiv:2605.07227",
    )
    p.add_argument("--frame", choices=("cell", "padded", "box"), help="default: the recipe's")
    p.add_argument("--epochs", type=positive, metavar="N", help="default: the recipe's")
    p.add_argument("--workers", type=positive, default=2, metavar="N", help="data-parallel workers (default 2)")
    p.add_argument("--gpu", action="store_true", help="one GPU for each worker")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and order (default 0)")
    p.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="between two checkpoints within an epoch, the most that a crash costs (default 60)",
    )
    p.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run at --out")
    return p.parse_args()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run the job."""
    from dataclasses import replace

    from rhoray.train.autoencoder import train_autoencoder
    from rhoray.train.recipes import get_recipe

    recipe = get_recipe(args.recipe, frame=args.frame, epochs=args.epochs)
    recipe = replace(recipe, seed=args.seed, checkpoint_seconds=args.checkpoint_seconds)
    return train_autoencoder(args.data, args.out, recipe, workers=args.workers, gpu=args.gpu, resume=args.resume)


if __name__ == "__main__":
    run(main, arguments())
