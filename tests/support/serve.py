"""Serves a logged model with `mkd serve`, as users do, on this machine only."""

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
    """A running server. process: the command, whose children are the workers."""

    url: str
    process: psutil.Process

    def processes(self) -> list[psutil.Process]:
        """The command and all its descendants."""
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def served(model: str, log: Path, env: dict[str, str], *options: str) -> Iterator[Served]:
    """Starts the model's server, and stops it and all its processes at the end.

    log: file for its output. env: its environment, with MLFLOW_TRACKING_URI. options: of
    `mkd serve`. Raises RuntimeError if it ends or does not answer.
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
        except OSError:  # it does not listen yet
            time.sleep(0.1)
    raise RuntimeError(f"the server does not answer: {log.read_text()[-2000:]}")
