"""The HTTP server of a logged model: MLflow's requests and answers, with bounds on a request.

`mlflow models serve` reads requests of any size into memory, repeats them in its errors, and
answers some of them with status 500.
"""

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.version import VERSION
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

JSON, CSV = "application/json", "text/csv"
MOST_COLUMNS = 100
"""Maximum number of columns of a request. A model reads two, and parsers are slow with many."""
LONGEST_REASON = 300
"""Maximum number of characters of an error message."""

HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON can hold and UTF-8 cannot."""

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class Bounds(NamedTuple):
    """Limits of a request: bytes of its body, and rows."""

    bytes: int
    rows: int


class Refusal(Exception):
    """Raised for a request that is refused, with the HTTP status and the reason in one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def application(model: PyFuncModel, bounds: Bounds, lifespan: Lifespan | None = None) -> Starlette:
    """Returns the ASGI application that answers requests with a model.

    /invocations answers JSON and CSV as `mlflow models serve` does. A wrong request has status 400,
    one with too many bytes 413, and one that is neither JSON nor CSV 415, each with the reason in
    one line: {"error_code": ..., "message": ...}. /ping, /health and /version are those of MLflow.
    """
    bounded = _BoundedModel(model, bounds.rows)
    schema = model.metadata.get_input_schema()  # type: ignore[no-untyped-call]

    async def invocations(request: Request) -> Response:
        try:
            kind = _content_type(request)
            body = await _body(request.stream(), bounds.bytes)
            # In a thread, so that others are answered meanwhile.
            answer = await asyncio.to_thread(_answer, body, kind, bounded, schema)
        except Refusal as refusal:
            return _refused(refusal.status, "BAD_REQUEST", str(refusal))
        except asyncio.CancelledError:  # uvicorn cancels what is not answered in time at the end
            return _refused(503, "TEMPORARILY_UNAVAILABLE", "the server ends")
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        return Response(answer, media_type=JSON)

    async def ping(request: Request) -> Response:
        return Response("\n", media_type=JSON)

    async def version(request: Request) -> Response:
        return Response(VERSION, media_type=JSON)

    routes = [
        Route("/invocations", invocations, methods=["POST"]),
        Route("/ping", ping),
        Route("/health", ping),
        Route("/version", version),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _refused(status: int, code: str, reason: str) -> Response:
    return JSONResponse({"error_code": code, "message": reason}, status)


class _BoundedModel(NamedTuple):
    """A model as MLflow's server calls it, which refuses too many rows."""

    model: PyFuncModel
    rows: int

    @property
    def metadata(self) -> Any:
        return self.model.metadata

    def predict(self, data: Any, params: Any = None) -> Any:
        # A dict has a list for each column, all else an item for each row.
        rows = max(map(_count, data.values()), default=0) if isinstance(data, dict) else len(data)
        if rows > self.rows:
            raise Refusal(400, f"the request has {rows} rows; allowed: at most {self.rows}")
        return self.model.predict(data, params=params)


def _count(column: Any) -> int:
    return len(column) if hasattr(column, "__len__") else 1


def _content_type(request: Request) -> str:
    stated = request.headers.get("content-type", "")
    kind, _, parameter = (part.strip().lower() for part in stated.partition(";"))
    if kind not in (JSON, CSV) or parameter not in ("", "charset=utf-8"):
        raise Refusal(
            415, shortened(f"content-type is {stated!r}; allowed: {JSON} or {CSV}, in UTF-8")
        )
    return kind


async def _body(stream: AsyncIterator[bytes], most: int) -> bytes:
    """Returns the body of a request. A body that is too large is not kept.

    It is read to its end, because clients that still send do not read the refusal.
    """
    chunks: list[bytes] = []
    size = 0
    async for part in stream:
        size += len(part)
        if size <= most:
            chunks.append(part)
        else:
            chunks.clear()
    if size > most:
        raise Refusal(413, f"the request has {size} bytes; allowed: at most {most}")
    return b"".join(chunks)


def _answer(body: bytes, kind: str, model: _BoundedModel, schema: Any) -> str:
    """Returns the answer to a request as JSON. Raises Refusal if there is none."""
    data: Any = _request(body) if kind == JSON else _checked_csv(body)
    try:
        response = scoring_server.invocations(data, kind, model, schema)  # type: ignore[no-untyped-call]
    except Refusal:
        raise
    except MlflowException as error:
        cause = error.__context__
        if isinstance(cause, Refusal):
            raise cause from None
        # MLflow puts the whole request before the reason.
        raise Refusal(400, shortened(error.message.rpartition("\nError: ")[2])) from None
    # MLflow's parser has no narrower exception: it trusts the types of JSON's values.
    except Exception as error:
        reason = f"the request cannot be read ({type(error).__name__}: {error})"
        raise Refusal(400, shortened(reason)) from None
    text: str = response.response
    return text


def _request(body: bytes) -> dict[str, Any]:
    """Returns the object of a request's JSON. Raises Refusal if it is none."""
    try:
        content = json.loads(body.decode(), parse_constant=_no_number)
    except RecursionError:
        raise Refusal(400, "the request is no valid JSON: it is nested too deeply") from None
    except ValueError as error:  # of UTF-8, of JSON, or a number of too many digits
        raise Refusal(400, shortened(f"the request is no valid JSON: {error}")) from None
    if not isinstance(content, dict):
        raise Refusal(400, f"the request is of type {type(content).__name__}; allowed: an object")
    forms = sorted(scoring_server.SUPPORTED_FORMATS)
    if len(content.keys() & scoring_server.SUPPORTED_FORMATS) != 1:
        names = ", ".join(content)
        raise Refusal(
            400, shortened(f"the request has {names}; allowed: one of {', '.join(forms)}")
        )
    if not isinstance(content.get("params", {}), dict | None):
        raise Refusal(
            400, f"params is of type {type(content['params']).__name__}; allowed: an object"
        )
    for form in forms:
        _check_columns(_columns_of(content.get(form)))
    whole: dict[str, Any] = content
    return _without_half_characters(whole) if b"\\ud" in body.lower() else whole


def _columns_of(values: Any) -> Collection[Any]:
    """Returns the names of the columns of a request's rows in one of MLflow's forms."""
    if isinstance(values, list):
        return {name for row in values if isinstance(row, dict) for name in row}
    if not isinstance(values, dict):
        return ()
    columns = values.get("columns")
    return columns if isinstance(columns, list) else values


def _check_columns(names: Collection[Any]) -> None:
    if len(names) > MOST_COLUMNS:
        raise Refusal(400, f"the request has {len(names)} columns; allowed: at most {MOST_COLUMNS}")


def _without_half_characters(values: Any) -> Any:
    """Returns the values with None for texts that hold half a surrogate pair.

    UTF-8 has no such characters, so MLflow would refuse the whole request. A row without a text has
    an error at its place.
    """
    if isinstance(values, dict):
        return {name: _without_half_characters(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_without_half_characters(value) for value in values]
    return None if isinstance(values, str) and HALF_CHARACTER.search(values) else values


def _checked_csv(body: bytes) -> bytes:
    """Returns the body of a CSV request. Raises Refusal if a row has too many or too few cells.

    pandas, which MLflow reads it with, takes an additional first cell as the name of the row: a
    text with a comma and without quotes would get the answer of its end.
    """
    csv.field_size_limit(max(len(body), csv.field_size_limit()))
    try:
        rows = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = next(rows, [])
        _check_columns(names)
        if len(set(names)) < len(names):
            raise Refusal(400, "the request has two columns of one name; allowed: one")
        for cells in rows:
            if cells and len(cells) != len(names):
                raise Refusal(
                    400,
                    f"line {rows.line_num} of the request has {len(cells)} cells; allowed: "
                    f"{len(names)}, as in line 1 (a text with a comma needs quotes)",
                )
    except (csv.Error, UnicodeDecodeError) as error:
        raise Refusal(400, shortened(f"the request is no valid CSV: {error}")) from None
    return body


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def shortened(reason: str) -> str:
    """Returns a reason on one line, without the end of a long one."""
    line = " ".join(reason.split())
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}…"
