"""Self-consistent PBE densities by GPAW: a crystal goes in, its converged valence density comes out.

GPAW is optional (the extra `dft`) and imported where it is used. Nothing here knows of Ray.
"""

import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any, NoReturn

import numpy as np
from pymatgen.core import Structure
from scipy import constants

from rhoray.core.errors import Impossible, NotConverged, ResourceError
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.free_atoms import free_atoms
from rhoray.density.gpaw_valence import gpaw_valence_density
from rhoray.density.promolecule import CUTOFF_EV, SPACING, symbols_of
from rhoray.density.structure_checks import check_structure

INSTALL = "GPAW is not installed; infra/gpaw/README.md shows how, and the extra `dft` names it"
XC = "PBE"
SMEARING_EV = 0.1
# The same equations, approached more slowly: less of the new density, of fewer old ones.
ATTEMPTS: tuple[dict[str, Any], ...] = (
    {"maxiter": 100},
    {"maxiter": 500, "mixer": {"name": "pulay", "beta": 0.02, "nmaxold": 5, "weight": 50.0}},
)

DAY_S = 24 * 60 * 60
# The signal comes again, should a library have caught the exception.
AGAIN_S = 10.0

PROCESS_BYTES = 600e6
# Wave functions, their trial steps and their projections, in units of the wave functions.
WAVE_COPIES = 3.0
GRID_COPIES = 40.0
BANDS_PER_PAIR = 1.2
EXTRA_BANDS_PER_ATOM = 4


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How finely a crystal is calculated.

    Attributes:
        cutoff_ev: of the plane waves.
        kpoint_density: along each reciprocal axis, Angstrom; the grid holds Gamma.
        smearing_ev: width of the Fermi-Dirac distribution.
    """

    cutoff_ev: float
    kpoint_density: float
    smearing_ev: float = SMEARING_EV

    @property
    def spacing(self) -> float:
        """Distance between planes of grid points in Angstrom, fine enough for the cutoff."""
        return float(SPACING * np.sqrt(CUTOFF_EV / self.cutoff_ev))


ACCURACIES = {"reference": Accuracy(CUTOFF_EV, 1.6), "standard": Accuracy(500.0, 3.2)}


@dataclass(frozen=True, slots=True)
class ScfResult:
    """A converged density and how it was reached.

    Attributes:
        density: of the valence electrons, kind `dft`.
        energy_ev: free energy of the cell, relative to GPAW's reference atoms.
        iterations: of the attempt that converged.
        attempts: that it took.
    """

    density: ChargeDensity
    energy_ev: float
    iterations: int
    attempts: int


class CpuLimitReached(NotConverged):
    """A calculation was given up because of what it took."""


@contextmanager
def cpu_limit(seconds: float | int) -> Iterator[None]:
    """Give up what runs inside after so many CPU seconds of this process, all its threads together.

    Raises:
        CpuLimitReached: in the main thread, between two calls into compiled code.
    """
    # Python hands signals to the main thread only, which is where Ray runs a task; in another there is no limit.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: object) -> NoReturn:
        raise CpuLimitReached(f"the SCF took more than {seconds} CPU seconds; raise --cpu-limit, or shrink the cell")

    handler = signal.signal(signal.SIGPROF, give_up)
    timer = signal.setitimer(signal.ITIMER_PROF, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, *timer)
        signal.signal(signal.SIGPROF, handler or signal.SIG_DFL)


def require_gpaw() -> str:
    """Return the versions of GPAW and its PAW sets.

    Raises:
        ResourceError: either is absent.
    """
    if find_spec("gpaw") is None:
        raise ResourceError(INSTALL)
    try:
        return f"gpaw {metadata.version('gpaw')}, gpaw-data {metadata.version('gpaw-data')}"
    except metadata.PackageNotFoundError as error:
        raise ResourceError(INSTALL.replace("GPAW", str(error.name))) from error


def gpaw_parameters(accuracy: Accuracy) -> dict[str, Any]:
    """Return what GPAW is told of every crystal."""
    return {
        "mode": {"name": "pw", "ecut": accuracy.cutoff_ev},
        "xc": XC,
        "kpts": {"density": accuracy.kpoint_density, "gamma": True},
        "occupations": {"name": "fermi-dirac", "width": accuracy.smearing_ev},
        "spinpol": False,
        "txt": None,
    }


def scf_density(structure: Structure, accuracy: Accuracy, attempts: Sequence[dict[str, Any]] = ATTEMPTS) -> ScfResult:
    """Return the spin-paired PBE density of a crystal.

    Args:
        structure: a crystal; its cell stays as it is.
        accuracy: cutoff, k-points and smearing.
        attempts: GPAW's parameters of each attempt, tried until one converges.

    Raises:
        Impossible: an element without a PAW set, or a crystal that `check_structure` refuses.
        TooLarge: too many atoms.
        NotConverged: no attempt did.
    """
    check_structure(structure)
    species = symbols_of(structure)
    _check_paw_sets(species)
    for number, parameters in enumerate(attempts, start=1):
        calculator = _converge(structure, species, accuracy, parameters)
        if calculator is None:
            continue
        values = gpaw_valence_density(calculator.dft, accuracy.spacing)
        lattice, sites = np.array(structure.lattice.matrix, float), np.array(structure.frac_coords, float)
        density = ChargeDensity(values, lattice, species, sites, "dft")
        energy = float(calculator.get_potential_energy(force_consistent=True))
        return ScfResult(density, energy, int(calculator.get_number_of_iterations()), number)
    limits = " and ".join(str(parameters.get("maxiter", "?")) for parameters in attempts)
    raise NotConverged(
        f"the SCF did not converge in {limits} iterations, the last of them with safer mixing; is the crystal metallic "
        "and magnetic, or are its atoms too near?"
    )


def _check_paw_sets(species: Iterable[str]) -> None:
    from gpaw.setup_data import search_for_file  # noqa: PLC0415

    missing = []
    for symbol in sorted(set(species)):
        try:
            search_for_file(f"{symbol}.{XC}")
        except (FileNotFoundError, RuntimeError):
            missing.append(symbol)
    if missing:
        raise Impossible(f"no PAW set for {', '.join(missing)} in gpaw-data; give a density from another code")


def _converge(structure: Structure, species: tuple[str, ...], accuracy: Accuracy, parameters: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return a converged calculator, None if it did not converge."""
    from ase import Atoms  # noqa: PLC0415
    from gpaw import GPAW, ConvergenceError  # noqa: PLC0415

    atoms = Atoms(species, scaled_positions=structure.frac_coords, cell=structure.lattice.matrix, pbc=True)
    atoms.calc = GPAW(**gpaw_parameters(accuracy), **parameters)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*symmetr.* grid|.*grid .*symmetr")  # a finer one is no harm
        try:
            atoms.get_potential_energy()
        except (ConvergenceError, np.linalg.LinAlgError):
            return None
    return atoms.calc


def scf_memory(structure: Structure, accuracy: Accuracy) -> float:
    """Return about how many bytes the SCF of a crystal takes; without data for an element, those of the process.

    Wave functions of all bands stay in memory for every k-point, of which time reversal spares about half.
    """
    table = free_atoms()
    species = symbols_of(structure)
    if not set(species) <= set(table.elements):
        return PROCESS_BYTES
    wave_number = np.sqrt(2 * accuracy.cutoff_ev / constants.value("Hartree energy in eV"))
    wave_number /= constants.value("atomic unit of length") * 1e10
    plane_waves = structure.volume * wave_number**3 / (6 * np.pi**2)
    pairs = table.total[table.rows(species)].sum() / 2
    bands = BANDS_PER_PAIR * pairs + EXTRA_BANDS_PER_ATOM * len(species)
    counts = np.ceil(accuracy.kpoint_density * np.array(structure.lattice.reciprocal_lattice.abc))
    waves = 16 * plane_waves * bands * (1 + np.prod(counts) / 2)
    grid = 8 * structure.volume / accuracy.spacing**3
    return float(PROCESS_BYTES + WAVE_COPIES * waves + GRID_COPIES * grid)
