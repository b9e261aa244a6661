"""A small real network under test: started, asked, hurt and healed from outside.

Theory of operation: files and processes are the demonstration's own (``kms.demo``); this adds what
only a test wants: one process stopped, killed or frozen, commands run as an operator runs them, and
waiting with a deadline instead of sleeping. Every wait is bounded; a wait that fails says what the
node said last and where its log is.
"""

import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from kms.adapters.operations.admin_client import AdminClient
from kms.adapters.operations.status_json import decode
from kms.adapters.tls import Credentials
from kms.client import Client, SyncClient
from kms.config import load
from kms.demo import story
from kms.demo.processes import Processes, health
from kms.demo.site import Application, NodeFiles, Site, lay_out
from kms.domain.statistics import NodeStatus, StreamStatus

# Two busy cores: what takes half a second alone may take ten in company.
PATIENCE_S = 60.0
ALICE, BOB = "alice", "bob"
RATE_BPS = 2_000_000
BLOCK_BYTES = 16 * 1024


class RealNetwork:
    """Two nodes, two devices, two applications; ``site`` has all their files."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.processes = Processes(site)

    # ---- who is who ---------------------------------------------------------------------

    def node(self, name: str) -> NodeFiles:
        return next(each for each in self.site.nodes if each.name == name)

    def application(self, name: str) -> Application:
        """The application at this node."""
        return next(each for each in self.site.applications if each.node == name)

    def client(self, name: str) -> Client:
        return story.client(self.site, self.application(name))

    def sync_client(self, name: str, credentials: Credentials | None = None) -> SyncClient:
        return SyncClient(
            self.node(name).etsi004_url, credentials or self.credentials(name), node=name
        )

    def credentials(self, name: str) -> Credentials:
        app = self.application(name)
        return Credentials(certificate=app.certificate, key=app.key, ca=self.site.ca)

    # ---- processes ----------------------------------------------------------------------

    def start(self, name: str) -> None:
        """A node, or ``device-<node>``."""
        if name.startswith("device-"):
            node = name.removeprefix("device-")
            device = next(each for each in self.site.devices if each.node == node)
            self.processes.start_device(device)
        else:
            self.processes.start_node(self.node(name))

    def kill(self, name: str) -> None:
        self.processes.kill(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes.running[name].send_signal(number)

    def ended(self, name: str) -> int:
        """The exit status of the process, once it has ended by itself."""
        process = self.processes.running.pop(name)
        try:
            return process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()

    def restart(self, name: str) -> None:
        """Stopped in order, with exit status 0, and started again."""
        self.signal(name, signal.SIGTERM)
        assert self.ended(name) == 0, self.log(name)[-2000:]
        self.start(name)

    def log(self, name: str) -> str:
        return self.processes.log(name).read_text(errors="replace")

    def cli(self, *words: object, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """One ``kms`` command, as an operator gives it."""
        return subprocess.run(
            [sys.executable, "-m", "kms.cli", *map(str, words)],
            input=stdin,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )

    # ---- what the nodes say -------------------------------------------------------------

    def status(self, name: str) -> NodeStatus:
        return decode(AdminClient(load(self.node(name).config).admin_socket).get("/status"))

    def stream(self, name: str, ksid: str) -> StreamStatus:
        """This one of all that the tests have left in the shared network."""
        return next(each for each in self.status(name).streams if str(each.ksid) == ksid)

    def health(self, name: str) -> dict[str, Any] | None:
        return health(self.node(name))

    def answers(self, name: str) -> bool:
        return self.health(name) is not None

    def operations(self, name: str, path: str) -> tuple[int, str]:
        """HTTP status and text of ``/health`` or ``/metrics``."""
        port = self.node(name).operations_port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds; fails with ``what`` after ``PATIENCE_S``."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            self.processes.check()
            if time.monotonic() > deadline:
                states = {node.name: health(node) for node in self.site.nodes}
                raise AssertionError(f"never: {what}; {states}; logs in {self.site.directory}")
            time.sleep(0.05)

    async def until_in_time(self, what: str, condition: Callable[[], bool]) -> None:
        """``until`` for a test that does something else meanwhile."""
        await trio.to_thread.run_sync(self.until, what, condition)

    def ready(self, *names: str) -> bool:
        """Whether these nodes (without names: all) say so themselves."""
        found = [self.health(name) for name in names or (ALICE, BOB)]
        return all(each is not None and each["state"] == "ready" for each in found)

    def up(self, node: NodeFiles) -> bool:
        """Whether a node that is not of the site is ready."""
        found = health(node)
        return found is not None and found["state"] == "ready"

    def until_ready(self, *names: str) -> None:
        self.until("ready", lambda: self.ready(*names))


@contextmanager
def real_network(directory: Path, rate_bps: int = RATE_BPS) -> Iterator[RealNetwork]:
    """A network that is ready; nothing of it runs afterwards."""
    site = lay_out(directory, rate_bps=rate_bps, block_bytes=BLOCK_BYTES)
    network = RealNetwork(site)
    try:
        network.processes.start_all()
        network.until_ready()
        yield network
    finally:
        for process in network.processes.running.values():
            process.send_signal(signal.SIGCONT)
        network.processes.stop_all()


def refusal(done: "subprocess.CompletedProcess[bytes]") -> str:
    """What a command that refused said. It ended with status 1 and a hint, without a trace."""
    said = done.stderr.decode()
    assert (done.returncode, "hint: " in said, "Traceback" in said) == (1, True, False), said
    return said
