"""The description says what the gateway serves, and what its models and errors say."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from starlette.requests import Request
from starlette.routing import Route

from gateway import complete, errors, openapi
from mappings import v1
from mappings.errors import MalformedRequest, ValueOutOfRange
from mappings.wire import v1 as wire

SEED = Path(__file__).parents[1] / "golden/seed/v1_request.json"
DESCRIBED = openapi.describe(openapi._PATHS)


def schema_of(name: str) -> dict[str, Any]:
    return DESCRIBED | {"$ref": f"#/components/schemas/{name}"}


def test_what_is_not_served_is_not_described() -> None:
    async def nothing(_request: object) -> None: ...

    described = openapi.route([Route("/livez", nothing), Route("/unknown", nothing)])
    assert described.path == "/openapi.json"
    assert set(openapi.describe(["/livez", "/unknown"])["paths"]) == {"/livez"}


def test_references_lead_somewhere() -> None:
    text = json.dumps(DESCRIBED)
    names = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= set(DESCRIBED["components"]["schemas"])
    assert "#/$defs" not in text


@pytest.mark.parametrize("operation", [item for paths in openapi._PATHS.values() for item in paths.values()])
def test_every_failure_has_the_shape_of_v1s_errors(operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        if status != "200":
            assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_every_field_that_is_read_is_described() -> None:
    described = DESCRIBED["components"]["schemas"]["CompleteRequest"]["properties"]
    assert set(described) == {*wire.CompleteRequest.__struct_fields__, "messages"}


def test_the_seeds_request_and_the_answers_are_as_described(seed_request: dict[str, Any]) -> None:
    turn = v1.decode_request(json.dumps(seed_request).encode())
    jsonschema.validate(seed_request, schema_of("CompleteRequest"))
    jsonschema.validate(json.loads(v1.encode_accepted(turn, "m-1")), schema_of("Accepted"))
    error = errors.OutOfRange("min_delay: no")
    jsonschema.validate(json.loads(v1.encode_error(error.code, error.message, "r-1")), schema_of("Error"))


@pytest.mark.parametrize(
    "change",
    [
        {"bot_id": None},
        {"bot_id": ""},
        {"user_id": None, "conversation_id": None},
        {"user_id": ""},
        {"min_delay": -1},
        {"max_delay": 604801},
        {"messages": [{"content": []}]},
        {"segment": 1},
        {"user_kv_pairs": {"a": {}}},
    ],
)
def test_what_is_refused_is_described_as_wrong(seed_request: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises((MalformedRequest, ValueOutOfRange)):
        v1.decode_request(json.dumps(seed_request | change).encode())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(seed_request | change, schema_of("CompleteRequest"))


@pytest.fixture
def seed_request() -> dict[str, Any]:
    request: dict[str, Any] = json.loads(SEED.read_text())
    return request


def resolve(reference: dict[str, Any]) -> dict[str, Any]:
    kind, name = reference["$ref"].removeprefix("#/components/").split("/")
    described: dict[str, Any] = DESCRIBED["components"][kind][name]
    return described


@pytest.mark.parametrize("operation", [item for paths in openapi._PATHS.values() for item in paths.values()])
def test_every_answer_names_its_request_and_a_passing_failure_may_say_when_to_try_again(
    operation: dict[str, Any],
) -> None:
    assert {"$ref": "#/components/parameters/X-Request-Id"} in operation["parameters"]
    for status, answer in operation["responses"].items():
        assert resolve(answer["headers"]["X-Request-Id"])["required"] is True
        assert ("Retry-After" in answer["headers"]) is (status in {"4XX", "429", "501", "502", "503", "504"})


def test_the_headers_that_a_turn_minds_are_described() -> None:
    turn = DESCRIBED["paths"]["/v2/complete"]["post"]
    described = {parameter["name"]: parameter for parameter in map(resolve, turn["parameters"])}
    assert set(described) == {"X-Request-Id", "Idempotency-Key", "Prefer"}
    assert {(parameter["in"], parameter.get("required", False)) for parameter in described.values()} == {
        ("header", False)
    }
    assert resolve(turn["responses"]["200"]["headers"]["Translation-Losses"])["schema"] == {"type": "string"}


@pytest.mark.parametrize(("key", "is_one"), [("order-1", True), ("x" * 255, True), ("", False), ("x" * 256, False)])
def test_an_idempotency_key_is_described_as_it_is_read(key: str, is_one: bool) -> None:
    schema = DESCRIBED["components"]["parameters"]["Idempotency-Key"]["schema"]
    assert jsonschema.Draft202012Validator(schema).is_valid(key) is is_one
    request = Request({"type": "http", "headers": [(b"idempotency-key", key.encode())]})
    if is_one:
        assert complete.idempotency_key(request) == key
    else:
        with pytest.raises(errors.ClientError):
            complete.idempotency_key(request)
