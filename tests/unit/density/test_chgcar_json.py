"""Materials Project's JSON form of a CHGCAR: what pymatgen's own `as_dict` writes comes back as the same density."""

import gzip
import json

import numpy as np
import pytest

from rhoray.core.errors import Impossible, UnknownFormat, Unreadable
from rhoray.density.read import read_density
from tests.unit.builders import chgcar_document, skewed


def document() -> dict:
    return chgcar_document(skewed())


def encoded(found) -> bytes:
    return json.dumps(found).encode()


def changed(change) -> bytes:
    found = document()
    change(found["data"])
    return encoded(found)


def test_it_is_the_density_that_was_written():
    found, expected = read_density(gzip.compress(encoded(document()))), skewed()
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-12)
    np.testing.assert_allclose(found.lattice, expected.lattice)
    assert found.species == expected.species
    np.testing.assert_allclose(found.frac_coords, expected.frac_coords)


def test_a_bare_chgcar_dict_is_read_too():
    assert read_density(encoded(document()["data"])).n_electrons == pytest.approx(skewed().n_electrons)


BROKEN = {
    "truncated": (encoded(document())[:-200], Unreadable, "copy the file again"),
    "another document": (encoded({"material_id": "mp-1", "band_gap": 1.0}), UnknownFormat, "no CHGCAR in this JSON"),
    "no total": (changed(lambda d: d["data"].pop("total")), Unreadable, "total"),
    "ragged grid": (changed(lambda d: d["data"]["total"]["data"][0].pop()), Unreadable, "inhomogeneous"),
    "flat grid": (changed(lambda d: d["data"].update(total=[1.0, 2.0])), Impossible, "three axes"),
    "text in the grid": (changed(lambda d: d["data"].update(total=[[["***"]]])), Unreadable, "could not convert"),
    "half an atom": (
        changed(lambda d: d["poscar"]["structure"]["sites"][0]["species"][0].update(occu=0.5)), Impossible, "0.5"
    ),
    "no such element": (
        changed(lambda d: d["poscar"]["structure"]["sites"][0]["species"][0].update(element="Xx")), Unreadable, "Xx"
    ),
    "flat lattice": (
        changed(lambda d: d["poscar"]["structure"]["lattice"].update(matrix=[[1, 0, 0]] * 3)), Impossible, "singular"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_documents_say_what_is_wrong(name):
    content, error, words = BROKEN[name]
    with pytest.raises(error, match=words):
        read_density(content)


def test_nothing_that_a_document_names_is_imported():
    found = document()
    found["data"]["poscar"]["structure"]["sites"][0]["properties"] = {"x": {"@module": "antigravity", "@class": "a"}}
    read_density(encoded(found))
    import sys

    assert "antigravity" not in sys.modules
