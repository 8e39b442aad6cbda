"""The default recipe against `paper`, side by side in one run: cost per crystal, and error after equal wall time.

    python benchmarks/bench_autoencoder.py --data DATASET --seconds 90

DATASET holds promolecular and DFT densities (rhoray.local.build_encoder_data). Both networks see the same crystals
and are judged on the same validation crystals, each in its own frame. Linear baselines stand beside them, and the
packaged encoder, which was trained once for all.
"""

import argparse
import contextlib
import itertools
import random
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from _results import write_result

from rhoray.density.charge_density import ChargeDensity
from rhoray.models.autoencoder import Autoencoder, build_autoencoder, count_parameters
from rhoray.models.baselines import baseline_reconstructions, fit_block_pca
from rhoray.models.frames import frames_tensor
from rhoray.models.losses import density_error
from rhoray.registry.bundle import load_bundle
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density
from rhoray.train.loop import Batch, run_epochs, start_state
from rhoray.train.recipes import Recipe, get_recipe

SHARDS = 8
BATCH = 2
TIMED = 12
RECIPES = ("zones", "paper")


def densities(uri: str) -> tuple[list[ChargeDensity], list[ChargeDensity]]:
    """Return the training and the validation crystals of the first shards."""
    manifest = read_manifest(uri)
    split = dict(zip(manifest.written.material_id, manifest.written.split, strict=True))
    rows = [row for shard in manifest.shards[:SHARDS] for row in read_shard(shard)]
    found = [(split[row["material_id"]], row) for row in rows]
    return ([row_density(r) for s, r in found if s == "train"], [row_density(r) for s, r in found if s == "val"])


def seconds_of(model: Autoencoder, batches: list[torch.Tensor], repeats: int) -> tuple[float, float]:
    """Return the seconds per crystal of a training step and of encoding: the mean over batches of the best of some."""
    optimiser = torch.optim.Adam(model.parameters(), 1e-4)
    steps, encodes = [], []
    for frames in batches:
        for times, work in ((steps, _step(model, optimiser, frames)), (encodes, _encoding(model, frames))):
            times.append(min(_seconds(work) for _ in range(repeats)) / len(frames))
    return float(np.mean(steps)), float(np.mean(encodes))


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _step(model: Autoencoder, optimiser: torch.optim.Optimizer, frames: torch.Tensor) -> Callable[[], None]:
    def work() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = density_error(model(frames), frames).mean()
        if loss.requires_grad:  # not where the network gives the crystals back as they are, without its weights
            loss.backward()
        optimiser.step()

    return work


def _encoding(model: Autoencoder, frames: torch.Tensor) -> Callable[[], None]:
    def work() -> None:
        with torch.inference_mode():
            model.encode(frames)

    return work


class _Over(Exception):
    """The time is up."""


def train(recipe: Recipe, crystals: list[ChargeDensity], seconds: float) -> tuple[Autoencoder, int]:
    """Return the network after so many seconds of training, frames included, and the crystals it saw."""
    torch.manual_seed(recipe.seed)
    model = build_autoencoder(recipe.network)
    state = start_state(model, recipe, steps_per_epoch=len(crystals) // recipe.batch_size)
    rng = random.Random(recipe.seed)  # noqa: S311 - an order, no secret
    ends = time.perf_counter() + seconds
    seen = itertools.count()

    def batches(_: int) -> Iterator[Batch]:
        while True:
            if time.perf_counter() > ends:
                raise _Over
            some = rng.sample(crystals, recipe.batch_size)
            for _ in some:
                next(seen)
            yield Batch([""] * len(some), lambda share, some=some: frames_tensor(some[share], recipe.frame))

    with contextlib.suppress(_Over):
        run_epochs(state, recipe, batches, lambda _: [], on_epoch=lambda *_: None)
    return model.eval(), next(seen)


@torch.inference_mode()
def judge(model: Autoencoder, frame: str, crystals: list[ChargeDensity]) -> list[float]:
    """Return the density error of each crystal."""
    frames = (frames_tensor([crystal], frame) for crystal in crystals)
    return [density_error(model(some), some).item() for some in frames]


@torch.inference_mode()
def baselines(train_set: list[ChargeDensity], val: list[ChargeDensity]) -> dict[str, list[float]]:
    """Return the density errors of the linear maps, and of their worst electron count."""
    components = fit_block_pca(frames_tensor([c], "cell") for c in train_set[:32])
    found: dict[str, list[float]] = {}
    for crystal in val:
        frames = frames_tensor([crystal], "cell")
        lattices = torch.from_numpy(np.array(crystal.lattice))[None]
        for name, back in baseline_reconstructions(frames, components, periodic=True, lattices=lattices).items():
            found.setdefault(name, []).append(density_error(back, frames).item())
    return found


def row(name: str, errors: list[float], kinds: np.ndarray) -> str:
    """Return a line of the table of errors, in percent."""
    cells = []
    for kind in ("dft", "promolecular"):
        some = 100 * np.array(errors)[kinds == kind]
        cells += [f"{np.median(some):.5f}", f"{np.quantile(some, 0.95):.4f}", f"{some.max():.3f}"]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Write results/autoencoder_….md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--crystals", type=int, default=80, help="validation crystals")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train_set, val = densities(args.data)
    val = val[: args.crystals]
    kinds = np.array([c.kind for c in val])
    rng = random.Random(0)  # noqa: S311 - a choice of crystals, no secret
    batches = [frames_tensor(rng.sample(train_set, BATCH), "cell") for _ in range(TIMED)]
    cost = {}
    for name in ("zones", "patch", "paper"):
        model = build_autoencoder(get_recipe(name).network)
        some, repeats = (batches[:1], 3) if name == "paper" else (batches, 3)
        cost[name] = (count_parameters(model), *seconds_of(model, some, repeats))
        channels_last = model.to(memory_format=torch.channels_last_3d)
        found = seconds_of(channels_last, [b.to(memory_format=torch.channels_last_3d) for b in some], repeats)
        cost[f"{name}, channels_last_3d"] = (count_parameters(model), *found)
    paper = cost["paper"]
    lines = [
        "| network | parameters | train s/crystal | encode s/crystal | train ratio | encode ratio |",
        "|" + " --- |" * 6,
    ]
    lines += [
        f"| {name} | {n:,} | {step:.3f} | {encode:.3f} | {paper[1] / step:.1f} | {paper[2] / encode:.1f} |"
        for name, (n, step, encode) in cost.items()
    ]
    print("\n".join(lines), flush=True)
    rows, seen = [], {}
    for name in RECIPES:
        recipe = get_recipe(name)
        model, seen[name] = train(recipe, train_set, args.seconds)
        rows.append(row(f"{name}, frame {recipe.frame}", judge(model, recipe.frame, val[: len(val)]), kinds))
        print(rows[-1], flush=True)
    untrained = build_autoencoder(get_recipe("zones").network).eval()
    rows.append(row("zones, untrained", judge(untrained, "cell", val), kinds))
    packaged = load_bundle("pretrained:").autoencoder
    rows.append(row("packaged encoder", judge(packaged.model, packaged.frame, val), kinds))
    rows += [row(name, errors, kinds) for name, errors in baselines(train_set, val).items()]
    body = (
        f"One training step and one encoding per 128^3 crystal, mean over {TIMED} batches of {BATCH} random training "
        f"crystals (`paper`, whose cost does not depend on the crystal: 1 batch), {args.threads} thread(s), float32; "
        "ratios are against `paper` in its default contiguous layout.\n\n" + "\n".join(lines) + "\n\n"
        f"Validation error after {args.seconds:.0f} s of training each, frames included, on the same crystals "
        f"(seen: {seen}); {(kinds == 'dft').sum()} DFT and {(kinds == 'promolecular').sum()} promolecular crystals of "
        "the val split, integral |d rho| / integral rho in percent: median, 95th percentile, worst.\n\n"
        "| network | DFT | p95 | worst | promolecular | p95 | worst |\n"
        + "|"
        + " --- |" * 7
        + "\n"
        + "\n".join(rows)
        + "\n"
    )
    write_result("autoencoder", "The autoencoder beside the paper's", body, ("torch", "numpy"))


if __name__ == "__main__":
    main()
