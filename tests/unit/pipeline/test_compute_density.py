"""Computing densities without Ray: where crystals come from, what the job says without GPAW."""

import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from rhoray.core.errors import InputRefused
from rhoray.core.storage import write_bytes
from rhoray.density.gpaw_scf import ACCURACIES, scf_memory
from rhoray.pipeline.compute_density import crystal_of, memory_needed, scf_shard
from rhoray.pipeline.sharded import ShardTask
from rhoray.sources.items import list_source
from tests.unit.builders import salt_chgcar

IRON = Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
QUICK = ACCURACIES["reference"]
HALF_IRON = Structure(IRON.lattice, [{"Fe": 0.5}, "Fe"], IRON.frac_coords)
LINE_OF_ATOMS = Structure(Lattice.orthorhombic(3, 3, 6600), ["Fe"] * 2200, [[0, 0, i / 2200] for i in range(2200)])


def cif_with(name: str, value: str) -> bytes:
    lines = IRON.to(fmt="cif").splitlines()
    return "\n".join(f"{name} {value}" if line.startswith(name) else line for line in lines).encode()


# File, content, the code of its refusal.
BROKEN = {
    "partly occupied": ("x.cif", HALF_IRON.to(fmt="cif").encode(), "impossible"),
    "an angle of zero": ("x.cif", cif_with("_cell_angle_alpha", "0"), "impossible"),
    "a length of zero": ("x.cif", cif_with("_cell_length_a", "0"), "unreadable"),
    "a length of NaN": ("x.cif", cif_with("_cell_length_a", "nan"), "impossible"),
    "too many atoms": ("x_POSCAR", Poscar(LINE_OF_ATOMS).get_str().encode(), "too-large"),
    "no element": ("x_POSCAR", Poscar(IRON).get_str().replace("Fe", "Xx").encode(), "unreadable"),
    "a density of no element": ("x_CHGCAR", salt_chgcar().replace(b"Na", b"Xx"), "unreadable"),
    "nothing": ("x.cif", b"", "unreadable"),
    "notes": ("x.cif", b"nothing of the kind", "unknown-format"),
}
WITHOUT_GPAW = (
    "import runpy, sys; sys.modules['gpaw'] = None; sys.path.insert(0, 'jobs'); sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def test_the_job_says_what_to_do_without_gpaw(root, tmp_path):
    flags = ["jobs/compute_density.py", "--structures", str(tmp_path), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_GPAW, *flags]
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


@pytest.mark.parametrize("broken", BROKEN)
def test_what_will_be_refused_needs_no_memory(tmp_path, broken):
    name, content, _ = BROKEN[broken]
    write_bytes(str(tmp_path / name), content)
    items = list_source(str(tmp_path)).items
    assert len(items) == 1
    assert memory_needed(items, QUICK) == 0


def test_the_largest_crystal_that_will_be_calculated_says_how_much_memory(tmp_path, capsys):
    crystals = {"iron": IRON, "larger": IRON * (1, 1, 2)}
    for name, crystal in crystals.items():
        write_bytes(str(tmp_path / f"{name}.cif"), crystal.to(fmt="cif").encode())
    for number, (name, content, _) in enumerate(BROKEN.values()):
        write_bytes(str(tmp_path / f"{number}{name}"), content)
    needed = memory_needed(list_source(str(tmp_path)).items, QUICK)
    assert needed == pytest.approx(scf_memory(crystals["larger"], QUICK), rel=1e-6)
    assert "look at: 100%" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("gpaw") is None, reason="GPAW is not installed (infra/gpaw/README.md)")
@pytest.mark.parametrize("broken", BROKEN)
def test_a_task_quarantines_what_is_broken(tmp_path, broken):
    name, content, code = BROKEN[broken]
    write_bytes(str(tmp_path / name), content)
    items = tuple(asdict(item) for item in list_source(str(tmp_path)).items)
    made = scf_shard(ShardTask("part", items, {"scf": asdict(QUICK)}))
    assert [(row["status"], row["code"], row["scf"]) for row in made.manifest_rows] == [
        ("quarantined", code, {"converged": False})
    ]
