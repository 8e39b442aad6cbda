"""An actor asks about the Ray that it belongs to, whatever other Rays there are or have been on the machine."""

import pytest
import ray
from ray.util.state import get_actor

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
class Asker:
    def state_of_itself(self) -> str:
        return get_actor(ray.get_runtime_context().get_actor_id(), timeout=10).state


def test_an_actor_finds_itself_alive(cluster):
    assert ray.get(Asker.remote().state_of_itself.remote(), timeout=60) == "ALIVE"
