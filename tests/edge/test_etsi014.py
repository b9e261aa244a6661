"""Strangers at the interface of keys with IDs: only their own connections suffer (I10)."""

import random
from typing import Any

import attrs
import pytest
import trio

from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.keyrequests import EncKeys, KeysReply
from kms.domain.limits import KEYS_BODY_BYTES_MAX
from kms.domain.names import SAEId
from tests.adapters.etsi004_http_client import BOB, WAYS
from tests.adapters.etsi014_http_client import Site, ids, parsed, site, url
from tests.edge.hostile import KEYS_OPENINGS, KEYS_PIECES, bent, try_bent, try_listed
from tests.edge.support import SHORT, reply, until, until_closed

BOUNDS = attrs.evolve(SHORT, body_bytes_max=KEYS_BODY_BYTES_MAX, connections_max=100)
ENC = f"POST {url('enc_keys', BOB)} HTTP/1.1\r\nHost: k\r\n".encode()


async def _unhurt(here: Site) -> None:
    async with here.client() as bystander:
        assert 200 == (await bystander.enc_keys()).status
    assert here.edge.server.statistics().contained == 0
    assert here.edge.logged("edge_contained") == []


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("opening", KEYS_OPENINGS, ids=[one["name"] for one in KEYS_OPENINGS])
async def test_a_hostile_opening_ends_at_most_its_own_connection(
    opening: dict[str, Any], way: str
) -> None:
    async with site(way, bounds=BOUNDS) as here:
        assert await try_listed(here.edge, opening) == []
        await _unhurt(here)


def test_no_opening_is_listed_twice() -> None:
    names = [one["name"] for one in KEYS_OPENINGS]

    assert sorted(set(names)) == sorted(names)
    assert len(names) >= 30


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
async def test_openings_that_are_bent_end_at_most_their_own_connections(way: str) -> None:
    """Those of other servers whole as well, with our URLs in them."""
    choice = random.Random(14)
    openings = KEYS_PIECES + [bent(choice, KEYS_PIECES) for _ in range(100)]
    wrong: list[str] = []
    async with site(way, bounds=BOUNDS) as here:

        async def try_some(some: list[bytes]) -> None:
            for opening in some:
                wrong.extend(await try_bent(here.edge, opening))

        async with trio.open_nursery() as nursery:
            for first in range(10):
                nursery.start_soon(try_some, openings[first::10])
        await _unhurt(here)

    assert wrong == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_request_cut_at_any_byte_makes_no_key(way: str) -> None:
    counter = MemoryNorthbound(keys_max=1)
    whole = ENC + b'Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{"number": 1}'
    async with site(way, counter, bounds=BOUNDS) as here:
        for length in range(0, len(whole), 7):
            async with here.edge.connect() as stream:
                await stream.send_all(whole[:length])
        await _unhurt(here)


@pytest.mark.parametrize("way", WAYS)
async def test_a_body_may_come_in_chunks_and_in_drips(way: str) -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}   \r\n0\r\n\r\n"
    async with site(way, bounds=attrs.evolve(BOUNDS, receive_s=5.0)) as here:
        async with here.edge.connect() as stream:
            await stream.send_all(ENC + b"Content-Type: application/json\r\n" + chunked)

            assert 200 == parsed(await reply(stream)).status
            head = ENC + b"Content-Type: application/json\r\nContent-Length: 13\r\n\r\n"
            for piece in (head, b'{"num', b'ber":', b" 2}"):
                await stream.send_all(piece)
                await trio.sleep(0.01)
            answer = parsed(await reply(stream))

        assert 2 == len(ids(answer))
        await _unhurt(here)


@pytest.mark.parametrize("way", WAYS)
async def test_pipelined_requests_are_answered_in_order(way: str) -> None:
    one = f"GET {url('enc_keys', BOB)}?number=1 HTTP/1.1\r\nHost: k\r\n\r\n".encode()
    two = one.replace(b"number=1", b"number=2").replace(
        b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"
    )
    async with site(way, bounds=BOUNDS) as here:
        async with here.edge.connect() as stream:
            await stream.send_all(one + two)
            heard = b""
            while more := await stream.receive_some(65536):
                heard += more

        assert [1, 2] == [each.count(b"key_ID") for each in heard.split(b"HTTP/1.1 200")[1:]]


class Slow(MemoryNorthbound):
    """enc_keys takes its time."""

    waiting = 0

    async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
        self.waiting += 1
        try:
            await trio.sleep(30)
            return await super().enc_keys(caller, request)
        finally:
            self.waiting -= 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asked", [1, 2])
async def test_who_hangs_up_costs_no_key_however_many_requests_it_sent_at_once(
    way: str, asked: int
) -> None:
    counter = Slow()
    one = f"GET {url('enc_keys', BOB)}?number=1 HTTP/1.1\r\nHost: k\r\n\r\n".encode()
    async with site(way, counter, bounds=BOUNDS) as here:
        async with here.edge.connect() as stream:
            await stream.send_all(one * asked)
            await until(lambda: counter.waiting == 1)
        await until(lambda: here.edge.server.statistics().connections == 0)

        assert counter.waiting == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_body_that_never_ends_is_cut_and_nobody_waits_for_it(way: str) -> None:
    async with site(way, bounds=BOUNDS) as here:
        async with here.edge.connect() as stream:
            await stream.send_all(ENC + b"Content-Length: 4\r\n\r\n{")
            await _unhurt(here)

            assert await until_closed(stream)
        await _unhurt(here)
