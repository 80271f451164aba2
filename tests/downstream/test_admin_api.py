"""The OpenAPI document of the admin port and the table it is made from."""

import re

import pytest

from proxy.core.flags import FLAG_PARSERS
from proxy.downstream.admin_api import OPERATIONS, SCHEMAS, Operation, openapi_document


def _at(document: object, *path: str) -> object:
    for step in path:
        assert isinstance(document, dict)
        document = document[step]
    return document


def test_names_and_routes_of_operations_are_unique() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)


def test_every_change_needs_an_operator_and_every_look_is_a_get_or_an_evaluation() -> None:
    for operation in OPERATIONS:
        only_looks = operation.method == "GET" or operation.path.startswith("/ofrep/")
        assert only_looks == (operation.need in {"probe", "look"})


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_each_operation_is_described(operation: Operation) -> None:
    described = _at(openapi_document("1"), "paths", operation.document_path, operation.method.lower())
    assert isinstance(described, dict)
    assert described["operationId"] == operation.name
    assert described["summary"].endswith(".")
    assert set(described["responses"]) == {str(operation.status), *map(str, operation.also), "default"}
    named = {parameter["name"] for parameter in described.get("parameters", []) if parameter["in"] == "path"}
    assert named == set(re.findall(r"{(\w+)}", operation.document_path))


def test_every_schema_that_is_referred_to_is_there() -> None:
    document = openapi_document("1")
    referred = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert referred == set(SCHEMAS)
    assert _at(document, "info", "version") == "1"


def test_the_patch_schema_names_every_flag() -> None:
    assert _at(SCHEMAS["FlagPatch"], "properties").__class__ is dict
    properties = _at(SCHEMAS["FlagPatch"], "properties")
    assert isinstance(properties, dict)
    assert set(properties) == {*FLAG_PARSERS, "reason", "force"}
