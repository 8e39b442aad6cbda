"""Computing densities without Ray: where crystals come from, what the job says without GPAW."""

import subprocess
import sys

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from rhoray.core.errors import InputRefused
from rhoray.core.storage import write_bytes
from rhoray.pipeline.compute_density import crystal_of
from rhoray.sources.items import list_source
from tests.unit.builders import salt_chgcar

IRON = Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
WITHOUT_GPAW = (
    "import runpy, sys; sys.modules['gpaw'] = None; sys.path.insert(0, 'jobs'); sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def test_the_job_says_what_to_do_without_gpaw(root, tmp_path):
    flags = ["jobs/compute_density.py", "--structures", str(tmp_path), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", WITHOUT_GPAW, *flags]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    (line,) = run.stderr.strip().splitlines()
    assert "infra/gpaw/README.md" in line
    assert "`dft`" in line
    assert not (tmp_path / "out").exists()


def test_a_crystal_comes_from_any_source(tmp_path):
    write_bytes(str(tmp_path / "iron.cif"), IRON.to(fmt="cif").encode())
    write_bytes(str(tmp_path / "iron_POSCAR"), Poscar(IRON).get_str().encode())
    for item in list_source(str(tmp_path)).items:
        assert crystal_of(item).matches(IRON)


def test_of_a_density_only_the_crystal_is_used(tmp_path):
    write_bytes(str(tmp_path / "salt_CHGCAR"), salt_chgcar())
    (item,) = list_source(str(tmp_path)).items
    assert crystal_of(item).composition.reduced_formula == "NaCl"


def test_a_row_of_a_dataset_gives_its_crystal(sample_rows):
    item = list_source("sample:", limit=1).items[0]
    row, found = sample_rows[item.material_id], crystal_of(item)
    assert [site.specie.symbol for site in found] == row["species"]
    assert np.allclose(found.frac_coords.ravel(), row["frac_coords"])
    assert np.allclose(found.lattice.matrix.ravel(), row["lattice"])


def test_what_is_no_crystal_is_refused(tmp_path):
    write_bytes(str(tmp_path / "notes.cif"), b"nothing of the kind")
    with pytest.raises(InputRefused):
        crystal_of(list_source(str(tmp_path)).items[0])
