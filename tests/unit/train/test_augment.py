"""Symmetry transforms: a rearrangement of the same voxels, decided by the generator alone."""

import itertools

import torch

from rhoray.train.augment import augment_frames


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def views(frame, *, rolls):
    """All axis orders and reversals of one frame, and with rolls, each at each origin."""
    n = frame.shape[-1]
    for order in itertools.permutations(range(3)):
        for axes in itertools.chain.from_iterable(itertools.combinations(range(3), k) for k in range(4)):
            seen = frame.permute(*order).flip(axes)
            for shift in itertools.product(range(n), repeat=3) if rolls else [(0, 0, 0)]:
                yield torch.roll(seen, shift, (0, 1, 2))


def test_without_periodicity_all_48_views_and_no_other():
    frame = torch.arange(27.0).reshape(1, 1, 3, 3, 3)
    allowed = {tuple(view.flatten().tolist()) for view in views(frame[0, 0], rolls=False)}
    assert len(allowed) == 48
    generator = seeded()
    found = {tuple(augment_frames(frame, generator, periodic=False).flatten().tolist()) for _ in range(600)}
    assert found == allowed


def test_with_periodicity_only_views_at_some_origin():
    frame = torch.arange(27.0).reshape(1, 1, 3, 3, 3)
    allowed = {tuple(view.flatten().tolist()) for view in views(frame[0, 0], rolls=True)}
    generator = seeded()
    found = {tuple(augment_frames(frame, generator, periodic=True).flatten().tolist()) for _ in range(600)}
    assert found <= allowed
    assert len(found) > 300


def test_a_wave_keeps_its_length_and_its_charge():
    n = 8
    wave = 1 + torch.cos(2 * torch.pi * torch.arange(n) / n).expand(2, 1, n, n, n)
    found = augment_frames(wave, seeded(), periodic=True)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3, 4)), wave.sum(dim=(1, 2, 3, 4)))
    spectra = torch.fft.fftn(found, dim=(2, 3, 4)).abs().flatten(1).sort(dim=1).values
    torch.testing.assert_close(spectra, torch.fft.fftn(wave, dim=(2, 3, 4)).abs().flatten(1).sort(dim=1).values)


def test_crystals_of_a_batch_are_seen_differently():
    frame = torch.rand(1, 1, 6, 6, 6)
    found = augment_frames(frame.expand(5, -1, -1, -1, -1), seeded(), periodic=True)
    assert len({tuple(view.flatten().tolist()) for view in found}) == 5


def test_the_generator_alone_decides():
    frames = torch.rand(3, 1, 6, 6, 6)
    first, again = (augment_frames(frames, seeded(3), periodic=True) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, augment_frames(frames, seeded(4), periodic=True))
