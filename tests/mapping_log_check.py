"""Holds log lines against the schema of the mapping log, for any test that has some."""

import functools
import json
from typing import Any

import jsonschema

from gateway import mapping_log


@functools.cache
def validators() -> dict[str, jsonschema.Draft202012Validator]:
    """Give one validator for each kind of line, so that a fault is told of the field that has it."""
    schema = mapping_log.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    kinds = [choice["$ref"].removeprefix("#/$defs/") for choice in schema["oneOf"]]
    return {
        kind: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]}) for kind in kinds
    }


def check(output: str | bytes) -> list[dict[str, Any]]:
    """Read captured output of the gateway and give its mapping-log lines, each held against the schema.

    Lines of other events, and what is no JSON, are passed over: a caller that expects lines must look at what it gets.
    """
    found = []
    for text in output.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and line.get("event") in validators():
            validators()[line["event"]].validate(line)
            found.append(line)
    return found
