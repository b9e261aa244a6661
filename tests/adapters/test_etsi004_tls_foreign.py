"""Programs written for other key managers work here unchanged: each in a thread of its own."""

from uuid import UUID

import pytest
import trio

from kms.adapters.edge import Bounds
from kms.adapters.etsi004_tls import CHUNK_BYTES_MAX
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.metadata import describe
from tests.adapters.foreign_004 import NULL, Asked, FixedFieldLike, Opened, ReferenceLike
from tests.edge.authority import Authority
from tests.edge.binary import ALICE, BOB, UNKNOWN, running_binary

AUTHORITY = Authority()
JSON = "application/json"
PREDEFINED = UUID("0d5a3c1e-8a7b-4c2d-9e1f-001122334455")

METADATA = describe(0, hops=0)
"""of the fake's chunks"""


async def test_two_programs_of_dialect_a_get_the_same_keys() -> None:
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY, bounds=Bounds()) as edge:
        keys = await trio.to_thread.run_sync(_reference_story, edge.port)

    assert len(set(keys)) == 3


def _reference_story(port: int) -> list[bytes]:
    alice = ReferenceLike(port, AUTHORITY.client_context(ALICE))
    bob = ReferenceLike(port, AUTHORITY.client_context(BOB))
    # As its sample sends it: everything but the chunk is 0.
    opened = alice.open_connect(ALICE, BOB, Asked(), JSON)
    assert (opened.status, opened.mimetype) == (1, JSON.encode())
    assert opened.ksid != NULL
    assert alice.get_key(opened.ksid, 0, b"").status == 3
    joined = bob.open_connect(ALICE, BOB, Asked(), JSON, opened.ksid)
    assert joined == Opened(0, opened.qos, opened.mimetype, opened.ksid)
    keys = []
    for index in range(3):
        one = alice.get_key(opened.ksid, index, bytes(1024))
        other = bob.get_key(opened.ksid, index, b"")
        assert (one.status, one.index, len(one.key)) == (0, index, 32)
        assert (one.key, other.metadata) == (other.key, b"")
        assert one.metadata == METADATA
        keys.append(one.key)
    small = alice.get_key(opened.ksid, 3, b"room")
    assert (small.status, small.metadata) == (8, bytes(len(METADATA)))
    assert alice.get_key(opened.ksid, 3, bytes(len(small.metadata))).status == 0
    assert alice.get_key(opened.ksid, 3, b"").status == 2
    assert alice.get_key(UNKNOWN.bytes, 0, b"").status == 3
    assert alice.get_key(opened.ksid, 4, bytes([0, 0x10])).status == 0
    assert alice.get_key(opened.ksid, 5, bytes([1, 0x11])).status == 4
    refused = alice.open_connect("qkd://app1@n1", "qkd://app2@n2", Asked(), "")
    assert (refused.status, refused.ksid) == (4, NULL)
    assert [alice.close(opened.ksid), bob.close(opened.ksid)] == [0, 0]
    assert alice.close(UNKNOWN.bytes) == 3
    return keys


@pytest.mark.parametrize("size", [1, 4096, CHUNK_BYTES_MAX])
async def test_one_read_gives_the_payload_of_every_chunk_size(size: int) -> None:
    def story() -> None:
        alice = ReferenceLike(edge.port, AUTHORITY.client_context(ALICE))
        bob = ReferenceLike(edge.port, AUTHORITY.client_context(BOB))
        opened = alice.open_connect(ALICE, BOB, Asked(key_chunk_size=size), JSON)
        bob.open_connect(ALICE, BOB, Asked(), "", opened.ksid)
        for index in range(5):
            got = alice.get_key(opened.ksid, index, bytes(256))
            assert (got.status, len(got.key), len(got.metadata)) == (0, size, len(METADATA))

    async with running_binary(MemoryNorthbound(), authority=AUTHORITY, bounds=Bounds()) as edge:
        await trio.to_thread.run_sync(story)


async def test_a_program_of_dialect_a_takes_the_chunk_that_it_is_offered() -> None:
    def story() -> list[int]:
        alice = ReferenceLike(edge.port, AUTHORITY.client_context(ALICE))
        refused = alice.open_connect(ALICE, BOB, Asked(key_chunk_size=65_536), JSON)
        again = alice.open_connect(ALICE, BOB, refused.qos, JSON)
        return [refused.status, refused.qos.key_chunk_size, again.status]

    async with running_binary(MemoryNorthbound(), authority=AUTHORITY, bounds=Bounds()) as edge:
        assert [7, CHUNK_BYTES_MAX, 1] == await trio.to_thread.run_sync(story)


async def test_two_programs_of_dialect_b_get_the_same_keys_on_one_connection_each() -> None:
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY, bounds=Bounds()) as edge:
        keys: dict[str, list[bytes]] = {}

        def one_end(caller: str, peer: str) -> None:
            with FixedFieldLike(edge.port, AUTHORITY.client_context(caller)) as program:
                opened = program.open_connect(caller, peer, Asked(timeout=5000), JSON, PREDEFINED)
                assert opened.status in (0, 7)
                assert (opened.ksid, opened.mimetype) == (PREDEFINED.bytes, JSON.encode())
                got = [program.get_key(opened.ksid, index, 1024) for index in range(20)]
                assert {(each.status, len(each.metadata)) for each in got} == {(0, len(METADATA))}
                assert program.get_key(opened.ksid, 3, 1024).status == 2
                assert program.get_key(opened.ksid, 20, 4).status == 8
                assert program.get_key(UNKNOWN.bytes, 0, 0).status == 3
                keys[caller] = [each.key for each in got]
                assert program.close(opened.ksid) == 0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, one_end, ALICE, BOB)
            nursery.start_soon(trio.to_thread.run_sync, one_end, BOB, ALICE)
        accepted = edge.server.statistics().accepted

    assert keys[ALICE] == keys[BOB]
    assert (20, 2) == (len(set(keys[ALICE])), accepted)


async def test_both_dialects_share_a_stream() -> None:
    def story() -> None:
        alice = ReferenceLike(edge.port, AUTHORITY.client_context(ALICE))
        with FixedFieldLike(edge.port, AUTHORITY.client_context(BOB)) as bob:
            opened = alice.open_connect(ALICE, BOB, Asked(), "")
            joined = bob.open_connect(BOB, ALICE, Asked(), "", UUID(bytes=opened.ksid))

            assert (joined.status, joined.qos) == (0, opened.qos)
            assert alice.get_key(opened.ksid, 0, b"").key == bob.get_key(opened.ksid, 0, 0).key

    async with running_binary(MemoryNorthbound(), authority=AUTHORITY, bounds=Bounds()) as edge:
        await trio.to_thread.run_sync(story)
