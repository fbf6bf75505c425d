"""The API's description: sound, whole, and true of real answers (`Description` checks every answer of these tests)."""

import re
from typing import Any
from unittest.mock import Mock

import pytest
from jsonschema import ValidationError
from openapi_spec_validator import validate

from cco_sidecar.web.root import route_table
from tests.web.sidecar import Answer, Description, Sidecar


def test_sound(sidecar: Sidecar) -> None:
    """The document is OpenAPI 3.1."""
    validate(sidecar.description.document)
    assert sidecar.description.document["openapi"].startswith("3.1")


def test_whole(sidecar: Sidecar) -> None:
    """Every route is in it, and nothing else; every operation has a name of its own."""
    document = sidecar.description.document
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    routes = {(route.method, re.sub(r"<(\w+)>", r"{\1}", route.path)) for route in route_table(Mock())}
    assert described == routes
    names = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert len(names) == len(set(names))


def test_parameters_are_true(sidecar: Sidecar) -> None:
    """Each query parameter of the document is taken, and one that is not there is refused."""
    for path, operations in sidecar.description.document["paths"].items():
        for method, operation in operations.items():
            in_path = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", path))
            real = re.sub(r"\{agent_type\}", "python-specialist", path)
            real = re.sub(r"\{\w+\}", "some-name", real)
            answer = sidecar.admin.request(method.upper(), real, surprise="x")
            assert (answer.status, answer.code) == (400, "VAL_001"), (method, path)
            assert answer.json["details"]["parameter"] == "surprise"


def test_security_is_true(sidecar: Sidecar) -> None:
    """What the document calls open answers without a token, and nothing else does."""
    for path, operations in sidecar.description.document["paths"].items():
        for method, operation in operations.items():
            answer = sidecar.anyone().request(method.upper(), re.sub(r"\{\w+\}", "name", path))
            assert (answer.status == 401) is (operation.get("security") != []), (method, path)


def test_description_can_fail(sidecar: Sidecar) -> None:
    """The check of real answers is one: an answer that is not as described is found."""
    answer = sidecar.admin.get("/health")
    wrong: Any = Answer("GET", "/health", 200, answer.headers, answer.body.replace(b'"uptime_seconds"', b'"uptime"'))
    with pytest.raises(ValidationError):
        Description(sidecar.description.document).check(wrong, "/health")
