"""What a user would write: DistributedDataParallel on two processes of one thread, frames as `.npy` files.

    python plain/train.py FRAMES EPOCHS RESULT

FRAMES holds one float32 array of 128^3 points a crystal. Network, loss, batch, schedule and views are those of recipe
`zones`. Writes volumes a second of each epoch and its loss as JSON.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from rhoray.models.autoencoder import build_autoencoder
from rhoray.models.losses import density_error
from rhoray.train.augment import augment_frames
from rhoray.train.recipes import get_recipe

PROCESSES = 2


class Frames(Dataset):
    """The arrays of a folder."""

    def __init__(self, folder: str) -> None:
        self.paths = sorted(Path(folder).glob("*.npy"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.load(self.paths[index]))[None]


def main(rank: int, folder: str, epochs: int, result: str, rendezvous: str) -> None:
    """Train in one of the processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=PROCESSES)
    recipe = get_recipe("zones", epochs=epochs)
    torch.manual_seed(recipe.seed)
    network = build_autoencoder(recipe.network)
    model = DistributedDataParallel(network)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))
    frames = Frames(folder)
    sampler: DistributedSampler = DistributedSampler(frames, seed=recipe.seed)
    loader = DataLoader(frames, recipe.batch_size // PROCESSES, sampler=sampler)
    optimiser = torch.optim.Adam(model.parameters(), recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(loader))
    random = torch.Generator().manual_seed(rank)
    rates = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        started, total = time.perf_counter(), 0.0
        for batch in loader:
            seen = augment_frames(batch, random, periodic=True)
            optimiser.zero_grad(set_to_none=True)
            loss = density_error(model(seen), seen).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            optimiser.step()
            schedule.step()
            average.update_parameters(network)
            total += loss.item()
        dist.barrier()
        rates.append({"volumes_per_second": len(frames) / (time.perf_counter() - started), "loss": total / len(loader)})
    if rank == 0:
        torch.save(average.module.state_dict(), f"{result}.pt")
        Path(result).write_text(json.dumps(rates))
    dist.destroy_process_group()


if __name__ == "__main__":
    folder, epochs, result = sys.argv[1:]
    torch.multiprocessing.spawn(main, (folder, int(epochs), result, f"{result}.rendezvous"), nprocs=PROCESSES)
