"""What the demonstration does with the network: two applications fetch keys and compare them."""

from collections.abc import Callable
from uuid import UUID

import attrs
import trio

from kms.adapters.operations.admin_client import AdminClient
from kms.adapters.operations.status_json import decode
from kms.adapters.tls import Credentials
from kms.client import Client, ClientError, NotEnoughKey, QoS, Stream, TimedOut
from kms.config import load
from kms.demo.site import Application, NodeFiles, Site
from kms.domain.otp import xor
from kms.domain.statistics import NodeStatus

# A device may need some seconds to make the first blocks: an application simply asks again.
TRIES_MAX = 60
MESSAGE = b"One pad, two sites: this sentence travelled under keys that nobody else has."


@attrs.frozen(kw_only=True)
class Outcome:
    """What two applications saw."""

    ksid: UUID
    chunk_bytes: int
    keys_delivered: int
    """pairs: both ends"""
    keys_equal: int
    keys_different: int
    seconds: float
    message_sent: str
    message_hidden: str
    """hexadecimal, as it crossed the network"""
    message_read: str
    blocks_agreed: int
    agreed_bps: float
    pad_bytes_on_own_frames: int

    @property
    def delivered_bps(self) -> float:
        return 8 * self.chunk_bytes * self.keys_delivered / self.seconds if self.seconds else 0.0

    @property
    def good(self) -> bool:
        """Every key was equal, and the message came through."""
        return (
            self.keys_delivered > 0
            and self.keys_equal == self.keys_delivered
            and self.message_read == self.message_sent
        )


async def tell(
    site: Site, *, keys: int, chunk_bytes: int, progress: Callable[[int], None]
) -> Outcome:
    """Two applications, one at each node, open a stream, fetch ``keys`` keys each, compare them,
    and send one message under one-time pad. ``progress`` hears how many pairs there are."""
    one, other = site.applications
    async with client(site, one) as first, client(site, other) as second:
        qos = QoS(key_chunk_size=chunk_bytes, metadata_mimetype="application/json", timeout=5_000)
        here = await first.open(source=one.sae_id, destination=other.sae_id, qos=qos)
        there = await second.join(here.ksid, source=other.sae_id, destination=one.sae_id)
        began = trio.current_time()
        equal = different = 0
        for number in range(keys):
            mine, theirs = await _pair(here, there)
            equal += mine == theirs
            different += mine != theirs
            progress(number + 1)
        seconds = trio.current_time() - began
        hidden, read = await _message(here, there)
        await here.close()
        await there.close()
    statuses = [await trio.to_thread.run_sync(status, node) for node in site.nodes]
    links = [link for each in statuses for link in each.links]
    return Outcome(
        ksid=here.ksid,
        chunk_bytes=chunk_bytes,
        keys_delivered=keys,
        keys_equal=equal,
        keys_different=different,
        seconds=seconds,
        message_sent=MESSAGE.decode(),
        message_hidden=hidden.hex(),
        message_read=read.decode(errors="replace"),
        blocks_agreed=links[0].blocks_total,
        agreed_bps=links[0].rate_in_bps,
        pad_bytes_on_own_frames=sum(link.own_pad_bytes_total for link in links),
    )


def client(site: Site, application: Application) -> Client:
    """The application's client at its own node."""
    node = next(each for each in site.nodes if each.name == application.node)
    credentials = Credentials(certificate=application.certificate, key=application.key, ca=site.ca)
    return Client(node.etsi004_url, credentials, node=node.name)


def status(node: NodeFiles) -> NodeStatus:
    """What ``kms status`` shows of the node."""
    return decode(AdminClient(load(node.config).admin_socket).get("/status"))


async def _pair(here: Stream, there: Stream) -> tuple[bytes, bytes]:
    """The next key at both ends."""
    got: dict[Stream, bytes] = {}

    async def fetch(stream: Stream) -> None:
        got[stream] = await _key(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch, here)
        nursery.start_soon(fetch, there)
    return got[here], got[there]


async def _key(stream: Stream) -> bytes:
    failure: ClientError | None = None
    for _ in range(TRIES_MAX):
        try:
            with await stream.get() as key:
                return bytes(key)
        except (NotEnoughKey, TimedOut) as error:
            failure = error
            await trio.sleep(0.5)
    assert failure is not None, "at least one try"
    raise failure


async def _message(here: Stream, there: Stream) -> tuple[bytes, bytes]:
    """The message as it crosses the network, and as the other application reads it: each byte
    under its own key byte."""
    hidden, read = bytearray(), bytearray()
    while len(read) < len(MESSAGE):
        mine, theirs = await _pair(here, there)
        part = MESSAGE[len(read) : len(read) + len(mine)]
        crossing = xor(part, mine[: len(part)])
        hidden += crossing
        read += xor(crossing, theirs[: len(part)])
    return bytes(hidden), bytes(read)
