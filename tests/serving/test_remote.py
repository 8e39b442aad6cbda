"""What Ray raises around a model call becomes ours; a dead replica gets a second try."""

import asyncio

import pytest
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from rhoray.core.errors import Impossible
from serve.canary import canary, canary_file
from serve.messages import Answer, ModelId
from serve.parsing import LIGHT_BYTES, FileParser, parse
from serve.problems import Overloaded
from serve.remote import ATTEMPTS, RemoteModel, call


def answers(*outcomes):
    """A sender that gives one outcome after another, and the list of those still to come."""
    rest = list(outcomes)

    async def send():
        outcome = rest.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return send, rest


def as_remote(error):
    return RayTaskError("predict", "a remote trace with /paths", error).as_instanceof_cause()


def test_result():
    send, _ = answers("latent")
    assert asyncio.run(call(send)) == "latent"


@pytest.mark.parametrize("error", [BackPressureError(9, 8), DeploymentUnavailableError("gone")])
@pytest.mark.parametrize("is_remote", [False, True])
def test_no_room_is_overload(error, is_remote):
    send, _ = answers(as_remote(error) if is_remote else error)
    with pytest.raises(Overloaded):
        asyncio.run(call(send))


def test_a_remote_refusal_keeps_its_own_words():
    send, _ = answers(as_remote(Impossible("no charge")))
    with pytest.raises(Impossible) as caught:
        asyncio.run(call(send))
    assert type(caught.value) is Impossible
    assert str(caught.value) == "no charge"


def test_a_refusal_that_passed_two_deployments_keeps_its_own_words():
    send, _ = answers(as_remote(as_remote(Impossible("no charge"))))
    with pytest.raises(Impossible) as caught:
        asyncio.run(call(send))
    assert str(caught.value) == "no charge"


def test_a_replica_that_died_behind_another_gets_a_second_try():
    send, rest = answers(as_remote(RayActorError()), "latent")
    assert asyncio.run(call(send)) == "latent"
    assert rest == []


def test_a_replica_whose_result_was_awaited_by_another_gets_a_second_try():
    hidden = RayServeException("an upstream actor died")
    hidden.__cause__ = as_remote(RayActorError())
    send, rest = answers(hidden, "latent")
    assert asyncio.run(call(send)) == "latent"
    assert rest == []


def test_what_nobody_expected_stays_what_it_is():
    send, _ = answers(as_remote(ZeroDivisionError("x / 0")))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(call(send))


def test_a_dead_replica_gets_a_second_try():
    send, rest = answers(RayActorError(), "latent")
    assert asyncio.run(call(send)) == "latent"
    assert rest == []


def test_replicas_that_keep_dying_are_overload():
    send, rest = answers(*[RayActorError()] * (ATTEMPTS + 1))
    with pytest.raises(Overloaded, match="restarted"):
        asyncio.run(call(send))
    assert len(rest) == 1


class Handle:
    """A handle to a deployment of one method, with the arguments of its calls."""

    def __init__(self, work):
        self.work = work
        self.calls = []
        self.parse = self.predict = self

    async def remote(self, *args, **_):
        self.calls.append(args)
        return self.work(*args)


@pytest.fixture
def parser():
    return Handle(lambda content: parse(content, limit=2**30))


@pytest.fixture
def model(parser):
    regressor = Handle(lambda *_: Answer(None, ModelId("elastic", "1"), 0.0, 0.0, needs_latent=False))
    remote = RemoteModel(parser, None, regressor, FileParser(1, limit=2**30))
    remote._needs_latent = False
    return remote


def test_a_light_file_is_read_here_and_others_by_a_parser(model, parser):
    here = asyncio.run(model.parse(canary_file()))
    assert parser.calls == []
    large = canary_file().ljust(LIGHT_BYTES + 1)
    there = asyncio.run(model.parse(large))
    assert parser.calls == [(large,)]
    assert (here.density.values == there.density.values).all()


def test_health_asks_a_parser_though_the_canary_is_light(model, parser):
    assert asyncio.run(model.identity()) == ModelId("elastic", "1")
    assert parser.calls == [(canary_file(),)]
    assert asyncio.run(model.identity()) == ModelId("elastic", "1")
    assert len(parser.calls) == 1, "what worked a moment ago is asked again"


def test_a_prediction_from_a_light_file_says_nothing_of_parsers(model, parser):
    asyncio.run(model.predict(canary()))
    asyncio.run(model.identity())
    assert parser.calls == [(canary_file(),)]
