"""A proxy to a server that can refuse connections, hang, or break off."""

import multiprocessing
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.sharedctypes import Synchronized

PASS, REFUSE, HANG, BREAK, GARBAGE, ERROR = range(6)
NAMES = {REFUSE: "refuses", HANG: "accepts and hangs", BREAK: "breaks off", GARBAGE: "garbage",
         ERROR: "status 500"}  # fmt: skip
FORKS = multiprocessing.get_context("fork")


class Proxy:
    """Forwards a port of 127.0.0.1 to another; `mode` says how it treats connections."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.mode: Synchronized[int] = FORKS.Value("i", PASS)
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.socket.getsockname()[1]

    def serve(self) -> None:
        """Accepts connections forever."""
        kept = []
        while True:
            client, _ = self.socket.accept()
            mode = self.mode.value
            if mode == HANG:
                kept.append(client)
                continue
            threading.Thread(target=self._treat, args=(client, mode), daemon=True).start()

    def _treat(self, client: socket.socket, mode: int) -> None:
        with client, suppress(OSError):
            if mode == REFUSE:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return  # closing now sends a reset
            client.settimeout(60)
            asked = client.recv(1 << 16)
            if mode == PASS:
                self._pass(client, asked)
            elif mode == BREAK:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            elif mode == GARBAGE:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n<html></html")
            else:
                client.sendall(b"HTTP/1.1 500 no\r\nContent-Length: 2\r\n\r\nno")

    def _pass(self, client: socket.socket, asked: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self.target)) as server:
            server.sendall(asked)
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            self._pump(server, client)

    def _pump(self, origin: socket.socket, target: socket.socket) -> None:
        """Forwards data between sockets until the origin closes or the mode is not PASS any more.

        Clients reuse connections, so a change of the mode must end the open ones.
        """
        with suppress(OSError):
            while (content := origin.recv(1 << 16)) and self.mode.value == PASS:
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """Yields a proxy that runs in its own process."""
    server = Proxy(target)
    process = FORKS.Process(target=server.serve, daemon=True)
    process.start()
    try:
        yield server
    finally:
        process.kill()
        process.join()
        server.socket.close()
