"""Reading requests strictly, and answering in JSON."""

from typing import Any, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mappings.wire import v3

M = TypeVar("M", bound=BaseModel)

_LISTED_ERRORS = 5


class Refused(Exception):
    """A request that is answered with a 4xx and a message. The message quotes no value of the request."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


async def read_bytes(request: Request, limit: int) -> bytes:
    """Return the body; more than `limit` bytes are refused with 413."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused(413, f"The body has more than {limit} bytes.")
    return bytes(body)


async def read_json(request: Request, shape: type[M], *, limit: int, context: Any = None) -> M:
    """Return the JSON body as the shape, which decides how strict it is; anything else is refused with 422."""
    body = await read_bytes(request, limit)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refused(422, "The body must be JSON, announced by Content-Type: application/json.")
    try:
        return shape.model_validate_json(body, context=context)
    except ValidationError as error:
        raise Refused(422, explain(error)) from error


def read_query(request: Request, shape: type[M], context: Any = None) -> M:
    """Return the query parameters as the shape; a wrong one is refused with 422."""
    try:
        return shape.model_validate(dict(request.query_params), context=context)
    except ValidationError as error:
        raise Refused(422, explain(error)) from error


def explain(error: ValidationError) -> str:
    """Return what is wrong and where, without the values."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    lines = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'body'}: {problem['msg']}"
        for problem in problems[:_LISTED_ERRORS]
    ]
    if len(problems) > _LISTED_ERRORS:
        lines.append(f"and {len(problems) - _LISTED_ERRORS} more")
    return "; ".join(lines)


def parse(body: bytes) -> Any:
    """Return the JSON value of a body, or None when it has none."""
    try:
        return pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError:
        return None


def show(value: Any, status: int = 200) -> Response:
    """Answer with any value as JSON, also with one that came from outside."""
    body = pydantic_core.to_json(value, inf_nan_mode="null")
    return Response(body, status, media_type="application/json")


def answer(shape: v3.Shape, status: int = 200) -> Response:
    """Answer with all fields of the shape, the empty ones as null."""
    return Response(shape.model_dump_json(), status, media_type="application/json")


def show_refusal(_request: Request, refused: Refused) -> Response:
    """Render a refusal as the API's error body."""
    return JSONResponse({"message": refused.message}, refused.status, refused.headers)


def show_http_error(_request: Request, error: HTTPException) -> Response:
    """Render a routing error (404, 405) as the API's error body."""
    return JSONResponse({"message": error.detail}, error.status_code, error.headers)
