"""A real PostgreSQL server for a test, in its own folder, on a free port of 127.0.0.1."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.support.needs import need
from tests.support.needs import program as path_of
from tests.support.serve import free_port

HANG_SECONDS = 60
"""A suspended server resumes after this time, so that a test waiting for it fails."""


class Server(NamedTuple):
    """A running server. address: SQLAlchemy URL of an empty database."""

    address: str
    folder: Path
    options: str

    def start(self) -> None:
        self._control("-l", str(self.folder / "log"), "-o", self.options, "start")

    def stop(self, mode: str) -> None:
        """mode: `fast` shuts down in order, `immediate` acts like a crash."""
        self._control("-m", mode, "stop")

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Suspends all its processes (SIGSTOP) until the block ends or HANG_SECONDS pass. The
        operating system still accepts connections."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        main = psutil.Process(first)
        processes = [main, *main.children(recursive=True)]

        def resume() -> None:
            for each in processes:
                each.resume()

        late = threading.Timer(HANG_SECONDS, resume)
        for each in processes:
            each.suspend()
        late.start()
        try:
            yield
        finally:
            late.cancel()
            resume()

    def _control(self, *argv: str) -> None:
        _run("pg_ctl", "-D", str(self.folder / "data"), "-w", *argv)


@contextmanager
def server() -> Iterator[Server]:
    """A server that requires a password; removed afterwards."""
    need("postgresql")
    folder = Path(tempfile.mkdtemp(prefix="mkd-postgres-"))
    if user := _user():
        shutil.chown(folder, user)
    port = free_port()
    try:
        (folder / "password").write_text("secret")
        _run(
            "initdb", "-D", str(folder / "data"), "-U", "mkd", "-A", "scram-sha-256",
            f"--pwfile={folder / 'password'}", "-N",
        )  # fmt: skip
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={port} "
            f"-c unix_socket_directories={folder} -c fsync=off"
        )
        started = Server(f"postgresql://mkd:secret@127.0.0.1:{port}/postgres", folder, options)
        started.start()
        try:
            yield started
        finally:
            started.stop("immediate")
    finally:
        shutil.rmtree(folder)


def _user() -> str | None:
    """The user that runs the server, which refuses root. None: this process's user."""
    return "postgres" if os.geteuid() == 0 else None


def _run(program: str, *argv: str) -> None:
    path = path_of(program)
    assert path, "the server has been asked for"
    user = _user()
    done = subprocess.run(
        [path, *argv], user=user, group=user, cwd="/", stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{program}: {done.stderr}"
