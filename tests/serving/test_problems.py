"""Every error has one type and one status, and an unexpected one says nothing of our insides."""

import json
import logging

import pytest
from starlette.requests import Request

from rhoray.core import errors
from serve.problems import (
    KINDS,
    Forbidden,
    NotThere,
    Overloaded,
    RequestRefused,
    TooSlow,
    Unauthorized,
    instance_of,
    problem_of,
    problem_response,
)

INSTANCE = "urn:rhoray:request:1"
STATUS = {
    RequestRefused: 400,
    errors.Unreadable: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotThere: 404,
    TooSlow: 408,
    errors.TooLarge: 413,
    errors.UnknownFormat: 415,
    errors.Impossible: 422,
    errors.InputRefused: 422,
    errors.Unavailable: 502,
    Overloaded: 503,
}


def descendants(cls):
    return {cls}.union(*(descendants(child) for child in cls.__subclasses__()))


@pytest.mark.parametrize("error", STATUS, ids=lambda cls: cls.code)
def test_status_and_type(error):
    problem = problem_of(error("found this, expected that"), INSTANCE)
    assert problem.status == STATUS[error]
    assert problem.type == f"urn:rhoray:problem:{error.code}"
    assert problem.detail == "found this, expected that"
    assert problem.instance == INSTANCE


def test_every_refusal_of_the_tree_has_a_kind():
    assert {cls.code for cls in descendants(errors.InputRefused)} <= set(KINDS)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("/srv/secret"), errors.BundleError("/srv/secret"), KeyError("/srv/secret")],
)
def test_what_is_our_fault_is_logged_and_not_told(error, caplog):
    with caplog.at_level(logging.ERROR):
        problem = problem_of(error, INSTANCE)
    assert (problem.status, problem.type) == (500, "urn:rhoray:problem:internal")
    assert "secret" not in problem.model_dump_json()
    assert "secret" in caplog.text
    assert INSTANCE in caplog.text


def test_response_is_a_problem_document():
    response = problem_response(problem_of(errors.TooLarge("9 bytes"), INSTANCE))
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
    assert set(json.loads(response.body)) == {"type", "title", "status", "detail", "instance"}


def test_overload_says_when_to_try_again():
    assert problem_response(problem_of(Overloaded("full"), INSTANCE)).headers["retry-after"] == "1"


def test_unauthorized_names_the_scheme():
    response = problem_response(problem_of(Unauthorized("no token"), INSTANCE))
    assert response.headers["www-authenticate"] == "Bearer"


def request_with_id(value: str) -> Request:
    return Request({"type": "http", "headers": [(b"x-request-id", value.encode())]})


def test_instance_is_the_request_id_of_serve():
    assert instance_of(request_with_id("abc-123")) == "urn:rhoray:request:abc-123"


@pytest.mark.parametrize("value", ["", "a b", "x" * 65, "a\\nb", "<script>"])
def test_an_id_that_is_none_is_replaced(value):
    instance = instance_of(request_with_id(value))
    assert len(instance) == len("urn:rhoray:request:") + 36
