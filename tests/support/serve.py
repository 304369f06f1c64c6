"""A logged model behind `mkd serve`, as its users start it, on this machine alone."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

START_SECONDS = 600


class Served(NamedTuple):
    """A server that answers. process: the command, whose children are the workers."""

    url: str
    process: psutil.Process

    def processes(self) -> list[psutil.Process]:
        """The command and all below it."""
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def served(model: str, log: Path, env: dict[str, str], *options: str) -> Iterator[Served]:
    """The model's server while it is open; it is stopped with all its processes at the end. log:
    what it prints.

    env: its environment, as MLFLOW_TRACKING_URI. options: of `mkd serve`. Raises RuntimeError where
    it ends or does not answer.
    """
    port = free_port()
    argv = [sys.executable, "-m", "experiments.serve", model, "--port", str(port), *options]
    with (
        open(log, "wb") as output,
        subprocess.Popen(argv, env=env, stdout=output, stderr=output) as command,
    ):
        server = Served(f"http://127.0.0.1:{port}", psutil.Process(command.pid))
        try:
            _wait_for_answer(command, server, log)
            yield server
        finally:
            running = server.processes() if command.poll() is None else []
            command.terminate()
            _, left = psutil.wait_procs(running, timeout=20)
            for process in left:
                process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_for_answer(command: subprocess.Popen[bytes], server: Served, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while command.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{server.url}/ping", timeout=10):
                return
        except OSError:  # nobody listens yet
            time.sleep(0.1)
    raise RuntimeError(f"the server does not answer: {log.read_text()[-2000:]}")
