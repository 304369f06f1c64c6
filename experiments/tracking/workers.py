"""The worker processes of `mkd serve`: those that die are replaced, unless they cannot start."""

import signal
from pathlib import Path
from socket import socket

from uvicorn import Config
from uvicorn.supervisors import Multiprocess

STARTUP_FAILURE = 3
"""Exit code of a worker process that has printed why its model cannot be loaded."""


class Workers(Multiprocess):
    """uvicorn's worker processes, except that one which dies before it is ready ends them all.

    uvicorn replaces it without end, as it does not tell a crash during loading from a later one.

    ready: a folder, to which each worker adds a file with its process id as its name once it can
        answer.
    """

    def __init__(self, config: Config, sockets: list[socket], ready: Path) -> None:
        super().__init__(config, sockets)
        self.ready = ready
        self.failure = ""
        """Why a worker could not start; empty: all could."""

    def keep_subprocess_alive(self) -> None:
        loading = False
        for worker in self.processes:
            alive = worker.process.is_alive()  # first: one may become ready, and die, meanwhile
            if (self.ready / str(worker.pid)).exists():
                continue
            if not alive and not self.should_exit.is_set():
                self.failure = _reason(worker.exitcode or 0)
                self.should_exit.set()
                return
            loading = True
        # uvicorn takes a worker that is silent for 5 seconds for hung, as some are while they load.
        if not loading:
            super().keep_subprocess_alive()


def _reason(code: int) -> str:
    """Returns why a model cannot be loaded, from the exit code of the process that tried."""
    if code == STARTUP_FAILURE:
        return "; a line above tells why"
    ended = signal.Signals(-code).name if code < 0 else f"the code {code}"
    return f": its worker process ended with {ended}"
