"""Serves a logged student over HTTP, with bounds on the bytes and rows of a request.

    mkd serve runs:/RUN_ID/student
    mkd serve models:/NAME@ALIAS --port 8000 --workers 2 --max-rows 100

Requests and answers are those of `mlflow models serve`. A request that is too large or wrong is
answered with the reason in one line. SIGTERM and Ctrl-C end the server within five seconds.
"""

import argparse
import json
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from mkd.config import MOST_THREADS
from mkd.shell import called_as, complete
from mkd.storage.addresses import one_line

if TYPE_CHECKING:
    from starlette.applications import Starlette

MAX_BYTES = 4 << 20
"""Default of the largest number of bytes in a request's body."""
MAX_ROWS = 1024
"""Default of the largest number of rows in a request."""
EXIT_SECONDS = 1
"""Seconds that requests have to be answered after SIGTERM."""
SERVER = "MKD_SERVER"
"""Environment variable through which the command tells its worker processes what they serve."""


class _Parser(argparse.ArgumentParser):
    """Reports a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Returns the options. Ends the process with the code 2 and one line if they are wrong."""
    parser = _Parser(
        prog=called_as("serve"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("model", help="runs:/RUN_ID/student, models:/NAME@ALIAS, or a folder")
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    parser.add_argument("--port", type=_number(1, 65535), default=5001)
    parser.add_argument(
        "--workers", type=_number(1, 256), default=1, help="processes, each with its model"
    )
    parser.add_argument("--threads", type=_number(1, MOST_THREADS), default=1, help="of each model")
    parser.add_argument(
        "--max-bytes", type=_number(1, 1 << 31), default=MAX_BYTES, help="of a request's body"
    )
    parser.add_argument(
        "--max-rows", type=_number(1, 1 << 31), default=MAX_ROWS, help="of a request"
    )
    complete(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns the exit code: 0, or 2 after a user's mistake."""
    options = parse(argv)
    try:
        with (
            _bound(options.host, options.port) as address,
            tempfile.TemporaryDirectory(prefix="mkd-serve-") as folder,
        ):
            _serve(options, address, Path(folder))
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _number(least: int, most: int) -> Callable[[str], int]:
    """Returns a function that parses a whole number within bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text[:12]) <= most):
            allowed = f"a whole number from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text[:50]!r}; allowed: {allowed}")
        return int(text)

    return read


def _bound(host: str, port: int) -> socket.socket:
    """Returns a socket with the server's address. The workers listen to it once they can answer.

    Raises OSError, before the model is loaded, if the address cannot be used.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(f"{host}:{port}: {error.strerror}") from None
    return bound


def _serve(options: argparse.Namespace, address: socket.socket, folder: Path) -> None:
    """Downloads the model, and serves it in worker processes until a signal comes.

    There is a worker process even if there is only one: one that dies is replaced. Raises
    ValueError if one dies while it loads the model.
    """
    import uvicorn

    from experiments.tracking.workers import Workers

    model = Path(options.model)
    if not (model / "MLmodel").is_file():
        # In a process of its own, so that this one stays small and ends at once.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            model = pool.submit(_downloaded, options.model, folder).result()
    ready = folder / "ready"
    ready.mkdir()
    bounds = [options.max_bytes, options.max_rows]
    os.environ[SERVER] = json.dumps(
        {"model": str(model.resolve()), "bounds": bounds, "ready": str(ready)}
    )
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    config = uvicorn.Config(
        "experiments.serve:application",
        factory=True,
        workers=options.workers,
        timeout_graceful_shutdown=EXIT_SECONDS,
    )
    print(
        f"serving {options.model} at http://{options.host}:{options.port}/invocations", flush=True
    )
    workers = Workers(config, [address], ready)

    def end(number: int, frame: FrameType | None) -> None:
        # Now: uvicorn hears signals only between its looks at whether the workers answer.
        workers.should_exit.set()
        for worker in workers.processes:
            worker.process.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    workers.run()
    if workers.failure:
        raise ValueError(f"{options.model} cannot be loaded{workers.failure}")


def _downloaded(uri: str, folder: Path) -> Path:
    from experiments.tracking.downloads import download_model
    from experiments.tracking.store import store_errors

    with store_errors():
        return download_model("the model", uri, folder).model


def application() -> "Starlette":
    """Returns the application that a worker process serves. Ends the process if it cannot."""
    import mlflow

    from experiments.tracking.server import Bounds, application
    from experiments.tracking.workers import STARTUP_FAILURE

    threading.Thread(target=_end_with_parent, daemon=True).start()
    setup = json.loads(os.environ[SERVER])
    try:
        model = mlflow.pyfunc.load_model(setup["model"])
    # The code of any model runs here.
    except Exception as error:
        print(f"{type(error).__name__}: {one_line(error)}", file=sys.stderr)
        sys.exit(STARTUP_FAILURE)
    return application(model, Bounds(*setup["bounds"]), _lifespan)


@asynccontextmanager
async def _lifespan(app: "Starlette") -> AsyncIterator[None]:
    Path(json.loads(os.environ[SERVER])["ready"], str(os.getpid())).touch()
    yield
    # Python would wait for the threads that still compute an answer.
    os._exit(0)


def _end_with_parent() -> None:
    """Ends this worker process if the command has been killed."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
