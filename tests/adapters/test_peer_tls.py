"""The real peer adapter where it differs from the fake: who gets in, and hostile streams."""

import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from cryptography import x509

from kms.adapters.neighbour import Neighbour, peer_node
from kms.adapters.peer_session import (
    GOODBYE,
    HEARTBEAT,
    NotGreeted,
    Session,
    Timing,
    Traffic,
    greet,
)
from kms.adapters.peer_tls import TLSPeerLinks
from kms.adapters.pki import create_ca, issue
from kms.adapters.tls import Checks, Credentials, CurrentTLS, client_context, fingerprint
from kms.domain import limits
from kms.domain.errors import LocalFault
from kms.domain.names import NodeId
from tests.adapters.test_tls import der_with
from tests.peer_worlds import QUICK, Inbox, Running, TLSWorld, between, tls_world

AB = between("a", "b")
A, B = NodeId("a"), NodeId("b")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[TLSWorld]:
    async with tls_world(tmp_path / "pki") as world:
        yield world


def refused(running: Running) -> int:
    return running.links.statistics()[0].refused


def strangers(running: Running) -> int:
    assert isinstance(running.links, TLSPeerLinks)
    return running.links.strangers


async def knock(port: int, credentials: Credentials) -> trio.SSLStream[trio.SocketStream]:
    """A connection as a node of that identity makes it, up to the greeting."""
    transport = await trio.open_tcp_stream("127.0.0.1", port)
    stream = trio.SSLStream(transport, client_context(credentials, checks=Checks.URI))
    await stream.do_handshake()
    return stream


async def is_shut(stream: trio.abc.Stream) -> bool:
    """The other end closed without a word of its own."""
    with trio.fail_after(5):
        try:
            return await stream.receive_some(100) == b""
        except trio.BrokenResourceError:
            return True


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not condition():
            await trio.sleep(0.005)


# ---- who gets in ----------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["kms:z", "sae:a", "kms:b"])
async def test_whoever_is_no_neighbour_is_refused_and_counted(
    world: TLSWorld, tmp_path: Path, uri: str
) -> None:
    b = await world.start("b", "a")

    stream = await knock(world.port("b"), issue(tmp_path / "pki", uri))

    assert await is_shut(stream)
    await until(lambda: strangers(b) == 1)
    assert b.inbox.calls == []
    await trio.aclose_forcefully(stream)


async def test_a_neighbour_that_should_be_dialled_is_refused(
    world: TLSWorld, tmp_path: Path
) -> None:
    a = await world.start("a")
    a.links.add(Neighbour(node=B, host="127.0.0.1", port=1))  # type: ignore[attr-defined]

    stream = await knock(world.port("a"), issue(tmp_path / "pki", "kms:b"))

    assert await is_shut(stream)
    await until(lambda: refused(a) == 1)
    assert a.inbox.calls == []
    await trio.aclose_forcefully(stream)


async def test_a_certificate_of_another_authority_is_refused(
    world: TLSWorld, tmp_path: Path
) -> None:
    b = await world.start("b", "a")
    create_ca(tmp_path / "other")
    foreign = issue(tmp_path / "other", "kms:a")
    ca = tmp_path / "pki" / "ca.pem"
    mixed = Credentials(certificate=foreign.certificate, key=foreign.key, ca=ca)

    stream = await knock(world.port("b"), mixed)

    assert await is_shut(stream)
    await until(lambda: strangers(b) == 1)
    assert b.inbox.calls == []
    await trio.aclose_forcefully(stream)


async def test_an_expired_neighbour_is_refused(world: TLSWorld, tmp_path: Path) -> None:
    b = await world.start("b", "a")
    past = datetime.now(UTC) - timedelta(days=2)

    stream = await knock(world.port("b"), issue(tmp_path / "pki", "kms:a", days=1, now=past))

    assert await is_shut(stream)
    assert b.inbox.calls == []
    await trio.aclose_forcefully(stream)


async def test_a_dialler_that_reaches_another_node_turns_away(world: TLSWorld) -> None:
    await world.start("c", "a", "b")
    a = await world.start("a")

    a.links.add(Neighbour(node=B, host="127.0.0.1", port=world.port("c")))  # type: ignore[attr-defined]

    await until(lambda: refused(a) >= 2)
    assert a.inbox.calls == []


async def test_a_dialler_that_reaches_another_authority_counts_it(
    world: TLSWorld, tmp_path: Path
) -> None:
    create_ca(tmp_path / "other")
    impostor = TLSPeerLinks(
        node=B,
        tls=CurrentTLS(issue(tmp_path / "other", "kms:b"), checks=Checks.URI),
        jitter=random.Random(1),
        neighbours=[Neighbour(node=A)],
    )
    port = await impostor.listen("127.0.0.1", 0)
    a = await world.start("a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(impostor.run, Inbox())

        a.links.add(Neighbour(node=B, host="127.0.0.1", port=port))  # type: ignore[attr-defined]

        await until(lambda: refused(a) >= 2)
        nursery.cancel_scope.cancel()
    assert a.inbox.calls == []


async def test_a_refused_dialler_never_takes_itself_for_connected(world: TLSWorld) -> None:
    """In TLS 1.3 its own handshake is done before it is refused."""
    b = await world.start("b")
    a = await world.start("a", "b")

    await until(lambda: strangers(b) >= 3)

    assert a.inbox.calls == []


async def test_a_revoked_certificate_gets_no_session_and_loses_the_one_it_has(
    world: TLSWorld, tmp_path: Path
) -> None:
    revoked: set[str] = set()
    credentials = issue(tmp_path / "pki", "kms:b")
    b = TLSPeerLinks(
        node=B,
        tls=CurrentTLS(credentials, checks=Checks.URI),
        jitter=random.Random(1),
        neighbours=[Neighbour(node=A)],
        is_revoked=revoked.__contains__,
        timing=QUICK,
    )
    port, inbox = await b.listen("127.0.0.1", 0), Inbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(b.run, inbox)
        a = await world.start("a")
        a.links.add(Neighbour(node=B, host="127.0.0.1", port=port))  # type: ignore[attr-defined]
        await inbox.until_connected(AB)

        pem = (tmp_path / "pki/kms-a.pem").read_text()
        revoked.add(fingerprint(ssl.PEM_cert_to_DER_cert(pem)))
        b.recheck()

        assert await inbox.until_lost(AB) == "the certificate is revoked"
        await until(lambda: b.statistics()[0].refused >= 2)
        assert len(inbox.named("connected")) == 1
        nursery.cancel_scope.cancel()


async def test_a_session_outlives_a_reload_and_the_next_one_is_proven_anew(
    world: TLSWorld, tmp_path: Path
) -> None:
    """Both nodes go over to another authority and withdraw the first: a frame proves its sender by
    its pad, so the session needs no certificate any more; the next handshake does."""
    sources = {node: world.tls(f"kms:{node}") for node in (A, B)}
    links = {
        node: TLSPeerLinks(node=node, tls=tls, jitter=random.Random(1), timing=QUICK)
        for node, tls in sources.items()
    }
    inboxes = {node: Inbox() for node in (A, B)}
    port = await links[B].listen("127.0.0.1", 0)
    links[A].add(Neighbour(node=B, host="127.0.0.1", port=port))
    links[B].add(Neighbour(node=A))
    create_ca(tmp_path / "next")
    async with trio.open_nursery() as nursery:
        for node in (A, B):
            nursery.start_soon(links[node].run, inboxes[node])
        session = await inboxes[A].until_connected(AB)
        before = links[B]._links[AB].certificate
        for node, tls in sources.items():
            tls.reload(issue(tmp_path / "next", f"kms:{node}"))
        links[A].send(AB, session, b"said after the reload")
        await until(lambda: bool(inboxes[B].named("frame")))
        stood = not inboxes[B].named("lost")
        links[A].disconnect(AB, session, "for the test")
        await until(lambda: len(inboxes[B].named("connected")) == 2)
        after = links[B]._links[AB].certificate
        nursery.cancel_scope.cancel()

    pem = (tmp_path / "next/kms-a.pem").read_text()
    assert stood
    assert fingerprint(ssl.PEM_cert_to_DER_cert(pem)) == after != before


async def test_a_dialler_turns_away_from_a_revoked_node(world: TLSWorld, tmp_path: Path) -> None:
    b = await world.start("b", "a")
    pem = (tmp_path / "pki/kms-b.pem").read_text()
    revoked = {fingerprint(ssl.PEM_cert_to_DER_cert(pem))}
    a = TLSPeerLinks(
        node=A,
        tls=world.tls("kms:a"),
        jitter=random.Random(1),
        neighbours=[world.neighbour(B)],
        is_revoked=revoked.__contains__,
        timing=QUICK,
    )
    async with trio.open_nursery() as nursery:
        inbox = Inbox()
        nursery.start_soon(a.run, inbox)
        await until(lambda: a.statistics()[0].refused >= 2)
        nursery.cancel_scope.cancel()

    assert inbox.calls == b.inbox.calls == []


def uris(*names: str) -> bytes:
    return der_with(*(x509.UniformResourceIdentifier(name) for name in names))


@pytest.mark.parametrize(
    ("der", "expected"),
    [
        (uris("kms:a"), "a"),
        (uris("sae:x", "kms:a"), "a"),
        (uris("kms:a", "kms:b"), None),
        (uris("kms:a", "kms:a"), None),
        (uris("kms:"), None),
        (uris("kms:a/b"), None),
        (uris("KMS:a"), None),
        (uris("sae:a"), None),
        (b"garbage", None),
        (None, None),
    ],
)
def test_a_certificate_names_exactly_one_node_or_nobody(
    der: bytes | None, expected: str | None
) -> None:
    assert peer_node(der) == expected


def test_the_smaller_name_needs_an_address(tmp_path: Path) -> None:
    create_ca(tmp_path)
    tls = CurrentTLS(issue(tmp_path, "kms:a"), checks=Checks.URI)
    a = TLSPeerLinks(node=A, tls=tls, jitter=random.Random(1))

    with pytest.raises(LocalFault, match="no address"):
        a.add(Neighbour(node=B))


async def test_a_port_in_use_is_named(world: TLSWorld) -> None:
    b = await world.start("b", "a")
    assert isinstance(b.links, TLSPeerLinks)

    with pytest.raises(LocalFault, match=str(world.port("b"))):
        await b.links.listen("192.0.2.1", world.port("b"))


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "\x00", "a..b"])
async def test_a_host_name_that_no_resolver_takes_is_no_end_of_the_node(
    world: TLSWorld, host: str
) -> None:
    a = await world.start("a")

    a.links.add(Neighbour(node=B, host=host, port=1))  # type: ignore[attr-defined]

    await trio.sleep(0.05)
    assert not a.done.is_set()


# ---- replacement ----------------------------------------------------------------------------


async def test_a_new_connection_from_the_neighbour_ends_the_old_one(
    world: TLSWorld, tmp_path: Path
) -> None:
    b = await world.start("b", "a")
    credentials = issue(tmp_path / "pki", "kms:a")
    old = await knock(world.port("b"), credentials)
    await greet(old)
    await b.inbox.until_connected(AB)

    new = await knock(world.port("b"), credentials)
    await greet(new)

    assert await b.inbox.until_lost(AB) == "a new connection from the neighbour"
    await b.inbox.until_connected(AB, times=2)
    await new.send_all(struct.pack(">I", 3) + b"new")
    assert await b.inbox.until_frames(1) == [b"new"]
    await trio.aclose_forcefully(old)
    await trio.aclose_forcefully(new)


async def test_replacement_while_the_node_is_busy_keeps_the_order(
    world: TLSWorld, tmp_path: Path
) -> None:
    b = await world.start("b", "a")
    b.inbox.hold()
    credentials = issue(tmp_path / "pki", "kms:a")
    streams = []
    for number in range(4):
        stream = await knock(world.port("b"), credentials)
        await greet(stream)
        await stream.send_all(struct.pack(">I", 1) + bytes([number]))
        streams.append(stream)
        await b.inbox.until_connected(AB, times=number + 1)
        await b.inbox.until(lambda: b.inbox.calls[-1][0] == "arrives")

    b.inbox.release()

    assert await b.inbox.until_frames(1) == [b"\x03"]
    names = [name for name, _, _, _ in b.inbox.calls]
    assert names == ["connected", "arrives", "lost"] * 3 + ["connected", "arrives", "frame"]
    for stream in streams:
        await trio.aclose_forcefully(stream)


# ---- hostile connections --------------------------------------------------------------------


async def test_an_oversized_frame_ends_the_session_before_it_is_read(
    world: TLSWorld, tmp_path: Path
) -> None:
    b = await world.start("b", "a")
    stream = await knock(world.port("b"), issue(tmp_path / "pki", "kms:a"))
    await greet(stream)

    await stream.send_all(struct.pack(">I", limits.FRAME_BYTES_MAX + 1))

    assert "more than any may have" in await b.inbox.until_lost(AB)
    assert refused(b) == 1
    await trio.aclose_forcefully(stream)


async def test_a_wrong_greeting_is_no_session(world: TLSWorld, tmp_path: Path) -> None:
    b = await world.start("b", "a")
    stream = await knock(world.port("b"), issue(tmp_path / "pki", "kms:a"))

    await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")

    assert await stream.receive_some(4) == HEARTBEAT
    assert await is_shut(stream)
    assert b.inbox.calls == []
    await trio.aclose_forcefully(stream)


async def test_plain_bytes_and_early_ends_cost_a_counter(world: TLSWorld) -> None:
    b = await world.start("b", "a")
    for data in (b"", b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\xff" * 5000):
        stream = await trio.open_tcp_stream("127.0.0.1", world.port("b"))
        if data:
            await stream.send_all(data)
        await stream.aclose()

    await until(lambda: strangers(b) == 5)
    a = await world.start("a", "b")
    await a.inbox.until_connected(AB)


async def test_idle_strangers_do_not_keep_the_neighbour_out(world: TLSWorld) -> None:
    """More of them than there are places; the oldest give way, long before their time is up."""
    world.timing = attrs.evolve(QUICK, handshake_s=600)
    b = await world.start("b", "a")
    idle = [
        await trio.open_tcp_stream("127.0.0.1", world.port("b"))
        for _ in range(limits.PEER_HANDSHAKES_MAX + 10)
    ]

    a = await world.start("a", "b")

    await a.inbox.until_connected(AB)
    await until(lambda: strangers(b) >= 11)
    for stream in idle:
        await stream.aclose()


async def test_a_reset_connection_is_lost_and_made_again(world: TLSWorld, tmp_path: Path) -> None:
    b = await world.start("b", "a")
    stream = await knock(world.port("b"), issue(tmp_path / "pki", "kms:a"))
    await greet(stream)
    await b.inbox.until_connected(AB)

    reset = struct.pack("ii", 1, 0)
    stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    await trio.aclose_forcefully(stream)

    assert await b.inbox.until_lost(AB) == "the connection broke"
    a = await world.start("a", "b")
    await a.inbox.until_connected(AB)


async def test_segments_leave_at_once(world: TLSWorld, tmp_path: Path) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", (await start_b(world)))

    assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await stream.aclose()


async def start_b(world: TLSWorld) -> int:
    await world.start("b", "a")
    return world.port("b")


# ---- a session over streams in memory -------------------------------------------------------

Memory = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class Ended:
    """A session under way, what it delivered and, at last, why it ended."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.reason = ""


@asynccontextmanager
async def session(
    deliver: Callable[[bytes], Awaitable[None]] | None = None,
) -> AsyncIterator[tuple[Session, Memory, Ended]]:
    ours, theirs = trio.testing.memory_stream_pair()
    ended = Ended()

    async def keep(data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        ended.frames.append(data)

    standing = Session(1, ours, traffic=Traffic(), timing=Timing())

    async def run() -> None:
        ended.reason = await standing.run(deliver or keep)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield standing, theirs, ended
        nursery.cancel_scope.cancel()


async def test_an_idle_session_keeps_saying_that_it_lives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with session() as (_, theirs, ended):
        for _ in range(5):
            await trio.sleep(limits.PEER_HEARTBEAT_MS / 1000)
            await theirs.send_all(HEARTBEAT)
        await trio.sleep(0.1)

        assert set(await theirs.receive_some(100)) == {0}
        assert ended.reason == ""
        assert ended.frames == []


async def test_a_silent_neighbour_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with session() as (_, _, ended):
        await trio.sleep(limits.PEER_SILENCE_MAX_MS / 1000 + 1)

        assert ended.reason == "silent for 10 s"


async def test_our_own_business_is_not_the_neighbours_silence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(data: bytes) -> None:
        await trio.sleep(5 * limits.PEER_SILENCE_MAX_MS / 1000)

    async with session(slow) as (_, theirs, ended):
        await theirs.send_all(struct.pack(">I", 1) + b"x")
        await trio.sleep(4 * limits.PEER_SILENCE_MAX_MS / 1000)

        assert ended.reason == ""


async def test_a_frame_may_come_byte_by_byte(autojump_clock: trio.testing.MockClock) -> None:
    async with session() as (_, theirs, ended):
        for byte in struct.pack(">I", 5) + b"hello" + HEARTBEAT + struct.pack(">I", 1) + b"!":
            await theirs.send_all(bytes([byte]))
            await trio.sleep(1)

        assert ended.frames == [b"hello", b"!"]


async def test_many_frames_may_come_at_once(autojump_clock: trio.testing.MockClock) -> None:
    frames = [bytes([number]) * (number + 1) for number in range(50)]
    async with session() as (_, theirs, ended):
        await theirs.send_all(b"".join(struct.pack(">I", len(f)) + f for f in frames))
        await trio.sleep(0.1)

        assert ended.frames == frames


async def test_small_frames_share_a_write() -> None:
    writes: list[int] = []
    ours, theirs = trio.testing.memory_stream_pair()
    send_all = ours.send_all

    async def counted(data: bytes) -> None:
        writes.append(len(data))
        await send_all(data)

    ours.send_all = counted  # type: ignore[method-assign,assignment]
    standing = Session(1, ours, traffic=Traffic(), timing=Timing())

    async def ignore(data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    for _ in range(1000):
        standing.send(bytes(100))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(standing.run, ignore)
        await trio.testing.wait_all_tasks_blocked()

        assert sum(writes) == 1000 * 104
        assert len(writes) == 2
        await theirs.aclose()


async def test_a_goodbye_ends_the_session_after_the_frames_before_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with session() as (_, theirs, ended):
        await theirs.send_all(struct.pack(">I", 1) + b"x" + GOODBYE + struct.pack(">I", 1) + b"y")
        await trio.sleep(0.1)

        assert ended.frames == [b"x"]
        assert ended.reason == "the neighbour ended the session"


async def test_a_frame_cut_off_is_never_delivered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with session() as (_, theirs, ended):
        await theirs.send_all(struct.pack(">I", 100) + b"x" * 99)
        await theirs.aclose()
        await trio.sleep(0.1)

        assert ended.frames == []
        assert ended.reason == "the neighbour closed the connection"


async def test_leaving_a_neighbour_that_does_not_read_takes_no_longer_than_the_linger(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with session() as (standing, theirs, ended):
        standing.send(b"last")
        standing.leave("enough")
        await trio.sleep(limits.PEER_LINGER_MS / 1000 - 0.1)
        assert ended.reason == ""
        await trio.sleep(0.2)

        assert ended.reason == "enough"
        assert await theirs.receive_some(100) == struct.pack(">I", 4) + b"last" + GOODBYE


async def test_whoever_left_hears_nothing_more(autojump_clock: trio.testing.MockClock) -> None:
    async with session() as (standing, theirs, ended):
        standing.leave("enough")
        await theirs.send_all(struct.pack(">I", 1) + b"x")
        await theirs.aclose()
        await trio.sleep(0.1)

        assert ended.frames == []
        assert ended.reason == "enough"


async def test_abandoning_cuts_a_delivery_short(autojump_clock: trio.testing.MockClock) -> None:
    async def never(data: bytes) -> None:
        await trio.sleep_forever()

    async with session(never) as (standing, theirs, ended):
        await theirs.send_all(struct.pack(">I", 1) + b"x")
        await trio.sleep(0.1)
        standing.abandon("replaced")
        await trio.sleep(0.1)

        assert ended.reason == "replaced"


@pytest.mark.parametrize("answer", [b"", b"\x00\x00", b"\x00\x00\x00\x01", GOODBYE])
async def test_only_a_greeting_is_a_greeting(answer: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    if answer:
        await theirs.send_all(answer)
    await theirs.send_stream.aclose()

    with pytest.raises(NotGreeted):
        await greet(ours)


async def test_back_off_grows_to_its_bound_and_is_never_twice_the_same(tmp_path: Path) -> None:
    create_ca(tmp_path)
    tls = CurrentTLS(issue(tmp_path, "kms:a"), checks=Checks.URI)
    a = TLSPeerLinks(node=A, tls=tls, jitter=random.Random(1))

    pauses = [a._pause_s(attempt) for attempt in range(1, 2000)]

    assert len(set(pauses)) == len(pauses)
    assert max(pauses) <= limits.PEER_BACKOFF_MAX_MS / 1000
    assert min(pauses) >= limits.PEER_BACKOFF_MIN_MS / 1000
    assert pauses[0] < pauses[3] < pauses[6]
