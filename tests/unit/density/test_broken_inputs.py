"""Every kind of broken file is refused with a reason that helps; every unusual one that is whole is read exactly."""

import numpy as np
import pytest

from rhoray.core.errors import InputRefused
from rhoray.density.read import read_density
from tests.broken_inputs import broken_inputs, expected, whole_inputs

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("name", broken_inputs())
def test_refused(name):
    broken = broken_inputs()[name]
    with pytest.raises(InputRefused) as caught:
        read_density(broken.content)
    assert caught.value.code == broken.code
    assert [word for word in broken.words if word not in str(caught.value)] == []
    assert len(str(caught.value)) < 310


@pytest.mark.parametrize("name", whole_inputs())
def test_read(name):
    found = read_density(whole_inputs()[name].content)
    np.testing.assert_allclose(found.values, expected().values, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.lattice, expected().lattice, atol=1e-9)
    np.testing.assert_allclose(found.frac_coords, expected().frac_coords, atol=1e-9)
    assert found.species == expected().species


def test_the_catalogue_is_long_and_its_files_are_named_apart():
    assert len(broken_inputs()) >= 100
    kinds = [*broken_inputs().values(), *whole_inputs().values()]
    assert len({kind.file.split("_CHGCAR")[0].split(".")[0] for kind in kinds}) == len(kinds)
