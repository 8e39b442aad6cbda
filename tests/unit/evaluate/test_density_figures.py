"""Pictures show the atoms where they are, in the colours of the field."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from rhoray.evaluate.density_figures import atoms_of_cell, density_figure, draw_slice, element_colour
from tests.unit.builders import salt


def test_colours_are_those_of_jmol():
    assert (element_colour("O"), element_colour("Na"), element_colour("Fe")) == ("#ff0d0d", "#ab5cf2", "#e06633")


def test_atoms_on_faces_are_drawn_on_both():
    corner = dataclasses.replace(salt(), species=("Na",), frac_coords=np.array([[0.0, 1.0, -1e-9]]))
    symbols, places = atoms_of_cell(corner)
    assert symbols == ["Na"] * 8
    assert {tuple(p) for p in places} == {(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    inside = dataclasses.replace(corner, frac_coords=np.array([[0.5, 0.25, 1.75]]))
    np.testing.assert_allclose(atoms_of_cell(inside)[1], [[0.5, 0.25, 0.75]])


@pytest.mark.parametrize(("at", "expected"), [(0.0, {"Na": 4}), (0.5, {"Cl": 1}), (0.25, {})])
def test_a_slice_shows_the_atoms_near_it(at, expected):
    density = dataclasses.replace(salt(), species=("Na", "Cl"), frac_coords=np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]))
    axes = Figure().add_subplot()
    draw_slice(axes, density, axis="c", at=at)
    labels = [text.get_text() for text in axes.texts]
    assert {symbol: labels.count(symbol) for symbol in labels} == expected


def test_the_surface_names_the_elements():
    figure = density_figure(salt())
    (legend,) = (axes.get_legend() for axes in figure.axes if axes.get_legend())
    assert {text.get_text() for text in legend.get_texts()} == set(salt().species)
