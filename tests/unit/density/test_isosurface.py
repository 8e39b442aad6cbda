"""Surfaces of known fields: a plane wave, a sphere; closed, and turned outwards."""

import numpy as np

from rhoray.density.isosurface import isosurface

N = 24


def ball(radius: float) -> np.ndarray:
    axes = np.stack(np.meshgrid(*[np.arange(N) / N - 0.5] * 3, indexing="ij"))
    return -np.linalg.norm(axes, axis=0) + radius


def test_a_ball_has_its_area_and_volume():
    triangles = isosurface(ball(0.3), 0.0)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]) / 2
    area = np.linalg.norm(normals, axis=1).sum()
    volume = ((triangles.mean(axis=1) - 0.5) * normals).sum() / 3  # divergence theorem: positive if turned outwards
    assert abs(area / (4 * np.pi * 0.3**2) - 1) < 0.02
    assert abs(volume / (4 / 3 * np.pi * 0.3**3) - 1) < 0.02


def test_a_closed_surface_has_every_edge_twice():
    corners = isosurface(ball(0.3), 0.013).round(9)
    _, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert set(counts.tolist()) == {2}


def test_it_reaches_the_far_side_of_the_cell():
    waves = np.cos(2 * np.pi * np.arange(N) / N)[:, None, None] * np.ones((N, N, N))
    found = isosurface(waves, 0.0)
    assert np.allclose(np.unique(found[..., 0].round(6)), [0.25, 0.75], atol=1e-6)
    assert found[..., 1].max() == 1.0
    np.testing.assert_allclose(np.linalg.norm(np.cross(*np.diff(found, axis=1).swapaxes(0, 1)), axis=1).sum() / 2, 2.0)


def test_nothing_where_the_level_is_not_reached():
    assert isosurface(np.ones((4, 5, 6)), 1.5).shape == (0, 3, 3)
