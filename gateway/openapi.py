"""The gateway's own description of itself: OpenAPI 3.1, made from the wire models and the errors.

What a model says is written nowhere else; what no model says (bounds of values, which errors a route has) stands here
as the names and constants of the code that does it.
"""

import inspect
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, TypeAlias

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway import complete, errors
from mappings import assets, receipt, v1
from mappings.wire import v1 as wire
from mappings.wire import v3

PATH = "/openapi.json"

REQUEST_ID = "X-Request-Id"
IDEMPOTENCY_KEY = "Idempotency-Key"
PREFER = "Prefer"
RETRY_AFTER = "Retry-After"

Json: TypeAlias = dict[str, Any]
Fault: TypeAlias = type[errors.GatewayError]

_SCHEMAS = "#/components/schemas/{name}"
_MODELS: tuple[type[BaseModel], ...] = (wire.CompleteModel, wire.CreateBot)
_STRUCTS: tuple[type[msgspec.Struct], ...] = (
    wire.HistoryItem,
    wire.Accepted,
    wire.Completed,
    wire.Callback,
    wire.Created,
    wire.ContentCreated,
    wire.Error,
)

_ANY_REQUEST: tuple[Fault, ...] = (errors.ClientError, errors.HeadersTooLarge)
_ANY_BODY: tuple[Fault, ...] = (errors.RequestTimeout, errors.PayloadTooLarge, errors.UnsupportedMediaType)
_ANY_CALLER: tuple[Fault, ...] = (errors.Unauthorized,)
_STORED: tuple[Fault, ...] = (errors.StoreUnavailable,)
_UPSTREAM: tuple[Fault, ...] = (errors.UpstreamUnavailable, errors.UpstreamTimeout)


def route(routes: Iterable[BaseRoute]) -> Route:
    """Give the route that serves the description of these routes and of itself."""
    paths = [one.path for one in routes if isinstance(one, Route)]
    body = json.dumps(describe([*paths, PATH])).encode()

    async def description(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    return Route(PATH, description, methods=["GET"])


def describe(paths: Iterable[str]) -> Json:
    """Describe those of our routes that are served."""
    served = set(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Chat migration gateway",
            "version": version("chat-migration-gateway"),
            "description": "V1's API for clients that keep their code, carried onto a stateful upstream.",
        },
        "paths": {path: item for path, item in _PATHS.items() if path in served},
        "components": {
            "schemas": _schemas(),
            "headers": dict(_ANSWER_HEADERS),
            "parameters": dict(_REQUEST_HEADERS),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "The client's API key."}},
        },
    }


def _schemas() -> Json:
    template = _SCHEMAS.replace("name", "model")
    _, of_models = models_json_schema([(model, "validation") for model in _MODELS], ref_template=template)
    _, of_structs = msgspec.json.schema_components(_STRUCTS, ref_template=_SCHEMAS)
    schemas: Json = {**of_models["$defs"], **of_structs, **_of_callback()}
    for schema in schemas.values():
        schema["description"] = inspect.cleandoc(schema.get("description", ""))
    _bound(schemas)
    return schemas


def _of_callback() -> Json:
    """Describe what an upstream posts: what may be missing may also be anything, and then counts as missing."""
    whole = v3.MessageCreated.model_json_schema(ref_template=_SCHEMAS.format(name="Upstream{model}"))
    shapes = {"MessageCreated": whole, **whole.pop("$defs")}
    for shape in shapes.values():
        for name in set(shape["properties"]) - set(shape.get("required", ())):
            shape["properties"][name] = {"anyOf": [shape["properties"][name], {}]}
    return {f"Upstream{name}": shape for name, shape in shapes.items()}


def _bound(schemas: Json) -> None:
    """Add what the models leave to the code behind them."""
    name = {"type": "string", "minLength": 1, "maxLength": v1.MAX_ID_CHARACTERS}
    seconds = {"type": ["number", "null"], "minimum": 0, "maximum": v1.MAX_DELAY.total_seconds()}
    request = schemas["CompleteRequest"]
    request["properties"] |= {
        "bot_id": name,
        "min_delay": seconds | {"description": "Seconds; not above `max_delay`."},
        "max_delay": seconds | {"description": "Seconds."},
        "webhook": {
            "type": ["string", "null"],
            "pattern": "^https?://",
            "description": "An http or https URL at a public address; without it the answer is the completion.",
        },
        "messages": {
            "description": "The full history, oldest first.",
            "type": ["array", "null"],
            "items": _ref(wire.HistoryItem),
            "maxItems": v1.MAX_HISTORY_ITEMS,
        },
    }
    for shape in (request, schemas["CreateBot"]):
        shape["maxProperties"] = v1.MAX_FIELDS
        for field in shape["properties"].values():
            for choice in field.get("anyOf", ()):
                if choice["type"] == "object":
                    choice["maxProperties"] = v1.MAX_ITEMS
                elif choice["type"] == "array":
                    choice["maxItems"] = v1.MAX_ITEMS
    request["anyOf"] = [
        {"required": ["user_id"], "properties": {"user_id": name}},
        {"required": ["conversation_id"], "properties": {"user_id": {"type": "null"}, "conversation_id": name}},
    ]
    schemas["CreateBot"]["properties"]["name"] = name
    schemas["Accepted"]["properties"]["status"] = {"const": "accepted"}


def _ref(shape: type[Any]) -> Json:
    return {"$ref": _SCHEMAS.format(name=shape.__name__)}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _pictures(schema: Json) -> Json:
    return {media_type: {"schema": schema} for media_type in assets.PICTURE_TYPES}


def _in_head(name: str, description: str, **schema: Any) -> Json:
    """Describe a header that a request may have; whatever is written there but for its schema is taken."""
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}


_REQUEST_HEADERS: Mapping[str, Json] = {
    REQUEST_ID: _in_head(
        REQUEST_ID,
        "The client's own name of this request for logs and errors: 1 to 128 visible characters. Anything else is "
        "passed over, and the gateway chooses one.",
    ),
    IDEMPOTENCY_KEY: _in_head(
        IDEMPOTENCY_KEY,
        "The client's own name of this turn, for 24 hours: with the same body it gets the first answer again and "
        "nothing is sent twice, with another one it is refused with 422.",
        pattern=f"^{complete.IDEMPOTENCY_KEY.pattern}$",
    ),
    PREFER: _in_head(
        PREFER,
        f"`handling=strict` refuses with 400, before anything is sent, what `{receipt.HEADER}` would name.",
    ),
}

_ANSWER_HEADERS: Mapping[str, Json] = {
    REQUEST_ID: {
        "description": "What this request is called in logs and errors.",
        "required": True,
        "schema": {"type": "string"},
    },
    receipt.HEADER: {
        "description": "The fields of the request that the upstream does not take as they are, by name: a structured "
        'field (RFC 9651), such as `approximated=("language"), dropped=("fast_mode"), unnamed=2`. Without losses '
        "there is no such header.",
        "schema": {"type": "string"},
    },
    RETRY_AFTER: {
        "description": "Seconds after which to try again, where that is known.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}


def _heads(status: str, *, has_receipt: bool) -> Json:
    """Give the headers of an answer: a failure that passes may say when, an answer may say what was lost."""
    names = [REQUEST_ID]
    if status == "200" and has_receipt:
        names.append(receipt.HEADER)
    if status in {"4XX", "429"} or status.startswith("5"):
        names.append(RETRY_AFTER)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _operation(
    summary: str,
    answer: Mapping[str, Json],
    *faults: Fault,
    keyed: bool = False,
    body: Json | None = None,
    parameters: Iterable[Json] = (),
    passes_refusals: bool = False,
    has_receipt: bool = False,
    reads: Iterable[str] = (),
    **more: Any,
) -> Json:
    """Describe one operation: `answer` is what a 200 holds, `reads` names the headers that it minds.

    `passes_refusals`: the upstream's 4xx are the client's. `has_receipt`: a 200 tells what was lost.
    """
    failures: dict[str, Json] = {}
    for fault in (*faults, *_ANY_REQUEST):
        text = inspect.cleandoc(fault.__doc__ or "").partition("\n")[0]
        known = failures.setdefault(str(fault.status), {"description": text, "content": _json(_ref(wire.Error))})
        if text not in known["description"]:
            known["description"] += f" {text}"
    if passes_refusals:
        text = "The upstream understood and refused."
        failures["4XX"] = {"description": text, "content": _json(_ref(wire.Error))}
    answers = {"200": {"description": "Done.", "content": dict(answer)}, **dict(sorted(failures.items()))}
    operation: Json = {
        "summary": summary,
        "parameters": [
            *parameters,
            *({"$ref": f"#/components/parameters/{name}"} for name in (REQUEST_ID, *reads)),
        ],
        "responses": {
            status: described | {"headers": _heads(status, has_receipt=has_receipt)}
            for status, described in answers.items()
        },
        **more,
    }
    if keyed:
        operation["security"] = [{"key": []}]
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


_TEXT = {"type": "string"}
_FINE = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
_TOKEN = {"name": "token", "in": "path", "required": True, "schema": _TEXT, "description": "Signed by the gateway."}

_EXAMPLE: Json = {
    "bot_id": "88d86507-8d6c-4fad-b6f6-15d4fd377c83",
    "user_id": "306066b7-e47a-405b-8726-ccec362858ac",
    "conversation_id": "chat-57-10628047-21400194",
    "message": "Hola",
    "messages": [{"bot": True, "content": ["¡Hola! Soy Angela.", "¿Qué tal tu día?"]}],
    "webhook": "https://client.example/replies?token=secret",
    "min_delay": 30,
    "max_delay": 60,
    "language": "es",
    "user_kv_pairs": {"age": 30},
}

_PATHS: Mapping[str, Json] = {
    "/v2/complete": {
        "post": _operation(
            "Take one turn of a conversation: its reply goes to the webhook, or is the answer where there is none.",
            _json({"oneOf": [_ref(wire.Accepted), _ref(wire.Completed)]}),
            *_ANY_CALLER,
            *_ANY_BODY,
            errors.OutOfRange,
            errors.TooManyTurns,
            errors.TooManyReplies,
            *_UPSTREAM,
            *_STORED,
            errors.Overloaded,
            errors.Draining,
            keyed=True,
            passes_refusals=True,
            has_receipt=True,
            reads=(IDEMPOTENCY_KEY, PREFER),
            body={"application/json": {"schema": _ref(wire.CompleteModel), "example": _EXAMPLE}},
            callbacks={
                "reply": {
                    "{$request.body#/webhook}": {
                        "post": {
                            "summary": "The whole reply, at a random moment between `min_delay` and `max_delay`.",
                            "requestBody": {"required": True, "content": _json(_ref(wire.Callback))},
                            "responses": {
                                "2XX": {"description": "Taken; anything else is tried again."},
                                "410": {"description": "Not wanted any more; not tried again."},
                            },
                        }
                    }
                }
            },
        )
    },
    "/v2/bot": {
        "post": _operation(
            "Create a bot.",
            _json(_ref(wire.Created)),
            *_ANY_CALLER,
            *_ANY_BODY,
            errors.OutOfRange,
            *_UPSTREAM,
            errors.NotSupported,
            keyed=True,
            passes_refusals=True,
            has_receipt=True,
            reads=(PREFER,),
            body=_json(_ref(wire.CreateBot)),
        )
    },
    "/v2/content": {
        "post": _operation(
            "Put a picture into a bot's vault.",
            _json(_ref(wire.ContentCreated)),
            *_ANY_CALLER,
            *_ANY_BODY,
            errors.OutOfRange,
            *_UPSTREAM,
            errors.NotSupported,
            keyed=True,
            passes_refusals=True,
            parameters=[
                {
                    "name": "bot_id",
                    "in": "query",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1, "maxLength": v1.MAX_ID_CHARACTERS},
                }
            ],
            body={
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"content": {"type": "string", "format": "binary"}},
                        "required": ["content"],
                    },
                    "encoding": {"content": {"contentType": ", ".join(assets.PICTURE_TYPES)}},
                }
            },
        )
    },
    "/v2/user_content": {
        "post": _operation(
            "Keep a user's picture for a later turn, which names it in `image_id`.",
            _json(_ref(wire.Created)),
            *_ANY_CALLER,
            *_ANY_BODY,
            errors.OutOfRange,
            errors.TooManyUploads,
            *_UPSTREAM,
            *_STORED,
            keyed=True,
            passes_refusals=True,
            body=_pictures({"type": "string", "format": "binary"}),
        )
    },
    "/content/{token}": {
        "get": _operation(
            "A user's picture, for the upstream.",
            _pictures({"type": "string", "format": "binary"}),
            errors.NotFound,
            *_STORED,
            parameters=[_TOKEN],
        )
    },
    "/callbacks/v3/{token}": {
        "post": _operation(
            "One message of a reply, from the upstream.",
            _json(_FINE),
            errors.NotFound,
            *_ANY_BODY,
            errors.OutOfRange,
            errors.TooManyTurns,
            *_STORED,
            parameters=[_TOKEN],
            body=_json({"$ref": _SCHEMAS.format(name="UpstreamMessageCreated")}),
        )
    },
    "/livez": {"get": _operation("Whether the process answers.", _json(_FINE))},
    "/readyz": {"get": _operation("Whether to send it requests.", _json(_FINE), *_STORED, errors.Draining)},
    "/metrics": {"get": _operation("Metrics for Prometheus.", {"text/plain": {"schema": _TEXT}})},
    PATH: {"get": _operation("This description.", _json({"type": "object"}))},
}
