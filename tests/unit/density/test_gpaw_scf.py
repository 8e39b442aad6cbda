"""Densities by GPAW: physics and refusals where GPAW is installed, estimates everywhere."""

import signal
import threading
import time
from importlib.util import find_spec

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from rhoray.core.errors import Impossible, NotConverged
from rhoray.density import gpaw_scf
from rhoray.density.gpaw_scf import (
    ACCURACIES,
    ATTEMPTS,
    PROCESS_BYTES,
    CpuLimitReached,
    cpu_limit,
    gpaw_parameters,
    scf_density,
    scf_memory,
)
from rhoray.density.gpaw_valence import gpaw_valence_density
from rhoray.density.promolecule import SPACING, native_shape, promolecular_density

needs_gpaw = pytest.mark.skipif(find_spec("gpaw") is None, reason="GPAW is not installed (infra/gpaw/README.md)")
QUICK = ACCURACIES["reference"]
STANDARD = ACCURACIES["standard"]
COPPER = Structure([[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], ["Cu"], [[0, 0, 0]])
HYDRIDE = Structure([[0, 2, 2], [2, 0, 2], [2, 2, 0]], ["Li", "H"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TECHNETIUM = Structure(Lattice.cubic(2.7), ["Tc"], [[0, 0, 0]])
IMPATIENT = {"maxiter": 2}


@pytest.fixture(scope="module")
def hydride():
    return scf_density(HYDRIDE, QUICK)


@needs_gpaw
def test_electrons_add_up(hydride):
    assert hydride.density.n_electrons == pytest.approx(2, abs=1e-6)
    assert hydride.density.kind == "dft"


@needs_gpaw
def test_the_grid_is_that_of_the_free_atoms(hydride):
    assert hydride.density.values.shape == native_shape(hydride.density.lattice)


@needs_gpaw
def test_lithium_gives_its_electron_to_hydrogen(hydride):
    free = promolecular_density(HYDRIDE, hydride.density.values.shape).values
    moved = hydride.density.values - free
    n = len(moved)
    assert moved[n // 2, n // 2, n // 2] > 0
    assert 0.02 < np.abs(moved).sum() / free.sum() < 0.4


@needs_gpaw
def test_a_translated_crystal_has_the_same_energy_and_density(hydride):
    moved = Structure(HYDRIDE.lattice, HYDRIDE.species, HYDRIDE.frac_coords + 0.5)
    found = scf_density(moved, QUICK)
    assert found.energy_ev == pytest.approx(hydride.energy_ev, abs=2e-3)
    half = [n // 2 for n in found.density.values.shape]
    difference = np.roll(found.density.values, half, (0, 1, 2)) - hydride.density.values
    assert np.abs(difference).sum() < 1e-3 * hydride.density.values.sum()


@needs_gpaw
def test_the_same_bits_come_again(hydride):
    again = scf_density(HYDRIDE, QUICK)
    assert np.array_equal(again.density.values, hydride.density.values)
    assert again.energy_ev == hydride.energy_ev


@needs_gpaw
def test_a_second_attempt_mixes_more_safely_and_finds_the_same_density(hydride):
    found = scf_density(HYDRIDE, QUICK, [IMPATIENT, ATTEMPTS[1]])
    assert (hydride.attempts, found.attempts) == (1, 2)
    assert found.iterations > hydride.iterations
    difference = np.abs(found.density.values - hydride.density.values).sum()
    assert difference < 1e-3 * hydride.density.values.sum()


@needs_gpaw
def test_what_never_converges_is_refused():
    with pytest.raises(NotConverged, match="in 2 and 2 iterations"):
        scf_density(HYDRIDE, QUICK, [IMPATIENT, IMPATIENT])


@needs_gpaw
def test_an_element_without_a_paw_set_is_named():
    with pytest.raises(Impossible, match="no PAW set for Tc"):
        scf_density(TECHNETIUM, QUICK)


@needs_gpaw
def test_the_density_before_the_first_iteration_is_the_promolecular_one():
    from gpaw import GPAW
    from pymatgen.io.ase import AseAtomsAdaptor

    calculator = GPAW(**gpaw_parameters(QUICK))
    calculator.create_new_calculation(AseAtomsAdaptor.get_atoms(COPPER))
    found = gpaw_valence_density(calculator.dft, SPACING)
    expected = promolecular_density(COPPER, found.shape).values
    assert np.abs(found - expected).sum() < 0.005 * expected.sum()
    with pytest.raises(ValueError, match="finer than the calculation"):
        gpaw_valence_density(calculator.dft, 50.0)


def test_more_waves_more_memory():
    small, twice = scf_memory(COPPER, QUICK), scf_memory(COPPER * (1, 1, 8), QUICK)
    assert PROCESS_BYTES < small < twice < 2e9
    assert scf_memory(COPPER, STANDARD) > small


def test_an_unknown_element_takes_a_process():
    assert scf_memory(TECHNETIUM, QUICK) == PROCESS_BYTES


def spend(cpu_seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < cpu_seconds:
        pass


def armed() -> tuple:
    return signal.getsignal(signal.SIGPROF), signal.getitimer(signal.ITIMER_PROF)


def test_what_takes_more_cpu_seconds_is_given_up():
    before, began = armed(), time.process_time()
    with pytest.raises(NotConverged, match=r"more than 0.1 CPU seconds; raise --cpu-limit"), cpu_limit(0.1):
        spend(5)
    assert 0.05 < time.process_time() - began < 2
    assert armed() == before


def test_nothing_is_left_of_a_limit_that_was_kept():
    before = armed()
    with cpu_limit(0.2):
        spend(0.01)
    spend(0.3)
    assert armed() == before


def test_waiting_takes_no_cpu_seconds():
    with cpu_limit(0.2):
        time.sleep(0.4)


def test_who_catches_the_limit_meets_it_again(monkeypatch):
    monkeypatch.setattr(gpaw_scf, "AGAIN_S", 0.1)
    began = time.process_time()

    def stubborn() -> None:
        with pytest.raises(CpuLimitReached):
            spend(5)
        spend(5)

    with pytest.raises(CpuLimitReached), cpu_limit(0.1):
        stubborn()
    assert 0.15 < time.process_time() - began < 2


def test_outside_the_main_thread_there_is_no_limit():
    done = []

    def work() -> None:
        with cpu_limit(0.05):
            spend(0.2)
        done.append(armed())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [armed()]


@needs_gpaw
def test_an_scf_stops_at_its_limit():
    with pytest.raises(CpuLimitReached), cpu_limit(0.2):
        scf_density(HYDRIDE * (2, 2, 2), QUICK)
