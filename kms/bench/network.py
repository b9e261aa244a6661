"""Two real nodes and two device ends, as processes, seen from outside."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import trio

from kms.adapters.tls import Credentials
from kms.client import Client, KeyClient, QoS, Stream
from kms.demo.processes import Processes, running, until_ready
from kms.demo.site import NodeFiles, Site, lay_out
from kms.demo.story import status
from kms.domain.errors import LocalFault
from kms.domain.statistics import NodeStatus

# A link that agrees on nothing for this long will not begin to.
STALL_S = 20.0
_POLL_S = 0.1
# Half of the streams are opened at each end, so both of the link's pads are used.
STREAMS = 4


@contextmanager
def directory() -> Iterator[Path]:
    """A directory of our own; nothing is left of it."""
    path = Path(tempfile.mkdtemp(prefix="kms-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@attrs.frozen(kw_only=True)
class Network:
    """The site and its processes."""

    site: Site
    processes: Processes
    block_bytes: int

    async def status(self, node: NodeFiles) -> NodeStatus:
        """What ``kms status`` shows. Raises ``LocalFault`` if a process ended."""
        self.processes.check()
        return await trio.to_thread.run_sync(status, node)

    async def agreed_bytes(self) -> int:
        """Key that both nodes hold as agreed."""
        counts = [(await self.status(node)).links[0].blocks_total for node in self.site.nodes]
        return min(counts) * self.block_bytes

    async def until_agreed(self, size_bytes: int) -> None:
        """So much key was agreed since the start. Raises ``LocalFault`` when it stalls."""
        seen, since = -1, trio.current_time()
        while (agreed := await self.agreed_bytes()) < size_bytes:
            if agreed != seen:
                seen, since = agreed, trio.current_time()
            elif trio.current_time() - since > STALL_S:
                raise LocalFault(
                    f"the nodes agree on no more key after {agreed} bytes",
                    hint=f"their logs are in {self.site.directory}",
                )
            await trio.sleep(_POLL_S)

    def without_devices(self) -> None:
        """The devices are gone: what was agreed is all there is, and they take no core."""
        for device in self.site.devices:
            self.processes.kill(f"device-{device.node}")

    def others(self) -> list[int]:
        """The processes beside the first node's."""
        first = self.site.nodes[0].name
        return [each.pid for name, each in self.processes.running.items() if name != first]

    def node_cpu_s(self) -> float:
        """Processor time that the first node has taken, its threads and the kernel's part too."""
        process = self.processes.running[self.site.nodes[0].name]
        fields = Path(f"/proc/{process.pid}/stat").read_text("ascii")
        user, system = fields.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def node_credentials(self, end: int) -> Credentials:
        """Of one node, for what stands in its place."""
        pki, name = self.site.ca.parent, self.site.nodes[end].name
        return Credentials(
            certificate=pki / f"kms-{name}.pem", key=pki / f"kms-{name}.key", ca=self.site.ca
        )

    def client(self, end: int, *, url: str = "", connections: int) -> Client:
        """The application of one end, at its own node or at ``url``."""
        node = self.site.nodes[end]
        return Client(
            url or node.etsi004_url,
            self._credentials(end),
            node=self.site.nodes[0 if url else end].name,
            connections_max=connections,
        )

    def key_client(self, end: int) -> KeyClient:
        """The application of one end, at its own node, for keys with IDs."""
        node = self.site.nodes[end]
        return KeyClient(node.etsi014_url, self._credentials(end), node=node.name)

    def _credentials(self, end: int) -> Credentials:
        application = self.site.applications[end]
        return Credentials(
            certificate=application.certificate, key=application.key, ca=self.site.ca
        )


@contextmanager
def network(path: Path, block_bytes: int) -> Iterator[Network]:
    """Both nodes are ready and both devices unlimited inside; no process is left after."""
    site = lay_out(path / "site", rate_bps=0, block_bytes=block_bytes)
    with running(site) as processes:
        trio.run(until_ready, site, processes)
        yield Network(site=site, processes=processes, block_bytes=block_bytes)


@attrs.frozen(kw_only=True)
class Pair:
    """One stream, as its two applications have it."""

    chunk_bytes: int
    designating: Stream
    """at the end whose pad it uses"""
    both: tuple[Stream, Stream]
    """at the first node and at the second"""


@asynccontextmanager
async def streams(
    clients: tuple[Client, Client], site: Site, chunk_bytes: int, count: int = STREAMS
) -> AsyncIterator[list[Pair]]:
    """Open streams with no key in them yet, but what the pacer lays ready; closed afterwards."""
    qos = QoS(key_chunk_size=chunk_bytes, timeout=10_000)
    names = [each.sae_id for each in site.applications]
    pairs = []
    for number in range(count):
        one, other = (0, 1) if number % 2 == 0 else (1, 0)
        opened = await clients[one].open(source=names[one], destination=names[other], qos=qos)
        joined = await clients[other].join(
            opened.ksid, source=names[other], destination=names[one], qos=qos
        )
        both = (opened, joined) if one == 0 else (joined, opened)
        pairs.append(Pair(chunk_bytes=chunk_bytes, designating=opened, both=both))
    yield pairs
    for pair in pairs:
        for stream in pair.both:
            await stream.close()


Say = Callable[[str], None]
"""what is going on, for a person who waits"""
