"""A real PostgreSQL server for a test, in a folder of its own, on a free port of 127.0.0.1."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.needs import need
from tests.support.needs import program as path_of


@contextmanager
def server() -> Iterator[str]:
    """The address of an empty database, as SQLAlchemy takes it; the server is gone afterwards. It
    asks for the password."""
    need("postgresql")
    folder = Path(tempfile.mkdtemp(prefix="mkd-postgres-"))
    # The server refuses to be root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    port = _free_port()
    try:
        (folder / "password").write_text("secret")
        _run(
            "initdb", "-D", str(folder / "data"), "-U", "mkd", "-A", "scram-sha-256",
            f"--pwfile={folder / 'password'}", "-N", user=user,
        )  # fmt: skip
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={port} "
            f"-c unix_socket_directories={folder} -c fsync=off"
        )
        _run(
            "pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "log"), "-o", options, "-w",
            "start", user=user,
        )  # fmt: skip
        try:
            yield f"postgresql://mkd:secret@127.0.0.1:{port}/postgres"
        finally:
            _run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-w", "stop", user=user)
    finally:
        shutil.rmtree(folder)


def _run(program: str, *argv: str, user: str | None) -> None:
    path = path_of(program)
    assert path, "the server has been asked for"
    done = subprocess.run(
        [path, *argv], user=user, group=user, cwd="/", stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{program}: {done.stderr}"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port
