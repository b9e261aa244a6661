"""Who gets through the handshake, and what the application is told of it."""

import datetime
import ssl
from pathlib import Path

import pytest
import trio

from kms.adapters.pki import create_ca, issue
from kms.adapters.tls import HTTP_1_1, CurrentTLS, client_context
from tests.edge.authority import Authority
from tests.edge.support import PROBE, FixedTLS, Running, reply, running, small_app, until_closed

AUTHORITY = Authority()
STRANGER = Authority()


async def _served(edge: Running, context: ssl.SSLContext) -> bool:
    """Whether this client gets an answer; a refused one sees an alert or a closed connection."""
    try:
        async with edge.connect(context) as stream:
            await stream.send_all(PROBE)
            return (await reply(stream)).startswith(b"HTTP/1.1 200")
    except (trio.BrokenResourceError, ssl.SSLError):
        return False


async def test_two_clients_are_told_apart_and_keep_alive_keeps_the_identity() -> None:
    alice = AUTHORITY.client_context("sae:alice.a")
    bob = AUTHORITY.client_context("sae:bob.b")
    async with (
        running(small_app(), authority=AUTHORITY) as edge,
        edge.connect(alice) as first,
        edge.connect(bob) as second,
    ):
        seen = []
        for stream in (first, second, first, second):
            await stream.send_all(PROBE)
            seen.append((await reply(stream)).partition(b"\r\n\r\n")[2])

    assert seen[0] == seen[2]
    assert seen[1] == seen[3]
    assert seen[0] != seen[1]
    assert b"sae:alice.a".hex().encode() in seen[0]


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (AUTHORITY.client_context(certificate=False), "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (STRANGER.client_context("sae:a", trusts=AUTHORITY), "unable to get local issuer"),
        (
            AUTHORITY.client_context("sae:a", ends=datetime.timedelta(seconds=-5)),
            "certificate has expired",
        ),
        (
            AUTHORITY.client_context("sae:a", begins=datetime.timedelta(hours=1)),
            "certificate is not yet valid",
        ),
    ],
    ids=["no_certificate", "foreign_authority", "expired", "not_yet_valid"],
)
async def test_a_certificate_that_is_not_ours_and_in_force_is_refused(
    context: ssl.SSLContext, reason: str
) -> None:
    async with running(small_app(), authority=AUTHORITY) as edge:
        served = await _served(edge, context)

        assert not served
        assert await edge.answers()
        assert edge.server.statistics().handshakes_failed == 1
        assert reason in edge.logged("edge_handshake_failed")[0]["reason"]


async def test_tls_1_2_is_refused() -> None:
    context = AUTHORITY.client_context("sae:alice.a")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running(small_app(), authority=AUTHORITY) as edge:
        served = await _served(edge, context)

        assert not served
        assert await edge.answers()


@pytest.mark.slow
async def test_no_ticket_is_given_so_an_expired_certificate_has_nothing_to_resume() -> None:
    context = AUTHORITY.client_context("sae:alice.a", ends=datetime.timedelta(seconds=1.5))
    async with running(small_app(), authority=AUTHORITY) as edge:
        async with edge.connect(context) as stream:
            await stream.send_all(PROBE)
            assert (await reply(stream)).startswith(b"HTTP/1.1 200")
            session = stream._ssl_object.session  # type: ignore[union-attr]
        await trio.sleep(2.0)
        again = await trio.open_tcp_stream("127.0.0.1", edge.port)
        resumed = trio.SSLStream(again, context, server_hostname="127.0.0.1", https_compatible=True)
        if session is not None and session.has_ticket:
            resumed._ssl_object.session = session
        answer = b""
        try:
            await resumed.send_all(PROBE)
            answer = await reply(resumed)
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(again)

        assert session is None or not session.has_ticket
        assert answer == b""
        assert await edge.answers()


@pytest.mark.slow
async def test_a_certificate_that_expires_on_an_open_connection_starts_no_request() -> None:
    context = AUTHORITY.client_context("sae:alice.a", ends=datetime.timedelta(seconds=1.5))
    async with running(small_app(), authority=AUTHORITY) as edge, edge.connect(context) as stream:
        await stream.send_all(PROBE)
        assert (await reply(stream)).startswith(b"HTTP/1.1 200")

        assert await until_closed(stream, seconds=1.9)
        assert await edge.answers()


@pytest.mark.parametrize(
    "opening",
    [b"GET /who HTTP/1.1\r\nHost: k\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b""],
    ids=["plain_http", "half_a_client_hello", "silence"],
)
async def test_what_is_no_handshake_ends_within_its_deadline(opening: bytes) -> None:
    async with running(small_app(), authority=AUTHORITY) as edge:
        raw = await trio.open_tcp_stream("127.0.0.1", edge.port)
        async with raw:
            if opening:
                await raw.send_all(opening)

            assert await until_closed(raw, seconds=1.5)
        assert await edge.answers()
        assert edge.server.statistics().handshakes_failed == 1
        assert edge.server.statistics().contained == 0


async def test_garbage_inside_tls_ends_that_connection_only() -> None:
    async with running(small_app(), authority=AUTHORITY) as edge:
        async with edge.connect() as stream:
            await stream.do_handshake()  # type: ignore[union-attr]
            await stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))  # type: ignore[union-attr]

            assert await until_closed(stream)
        assert await edge.answers()
        assert edge.server.statistics().contained == 0


async def test_a_removed_authority_is_out_at_the_next_connection_without_a_restart() -> None:
    tls = FixedTLS(AUTHORITY.server_context())
    alice = AUTHORITY.client_context("sae:alice.a")
    carol = STRANGER.client_context("sae:carol.c")
    async with (
        running(small_app(), authority=AUTHORITY, tls=tls) as edge,
        edge.connect(alice) as open_since_before,
    ):
        await open_since_before.send_all(PROBE)
        assert (await reply(open_since_before)).startswith(b"HTTP/1.1 200")
        tls.context = STRANGER.server_context()
        await open_since_before.send_all(PROBE)
        last = await reply(open_since_before)

        assert b"connection: close" in last
        assert await until_closed(open_since_before)
        assert not await _served(edge, alice)
        assert await _served(edge, carol)


async def test_the_nodes_own_contexts_are_a_source_and_reload_to_another_authority(
    tmp_path: Path,
) -> None:
    parties = []
    for site in ("one", "two"):
        create_ca(tmp_path / site)
        node = issue(tmp_path / site, "kms:node", ["127.0.0.1"])
        parties.append((node, client_context(issue(tmp_path / site, "sae:alice.a"))))
    (old, old_client), (new, new_client) = parties
    tls = CurrentTLS(old, alpn=HTTP_1_1)
    async with running(small_app(), authority=AUTHORITY, tls=tls) as edge:
        assert await _served(edge, old_client)
        tls.reload(new)

        assert not await _served(edge, old_client)
        assert await _served(edge, new_client)
