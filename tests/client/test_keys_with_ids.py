"""Keys with IDs: both faces against a key manager that speaks ETSI GS QKD 014 by the letter."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import attrs
import pytest

from kms.adapters.pki import create_ca, issue
from kms.client import (
    KeyNotFound,
    Malformed,
    Refused,
    Unavailable,
    Unreachable,
    WrongServer,
)
from tests.client.fake_kme import KNOWN, FakeKME, key_manager
from tests.client.key_faces import KEY_FACES, KeyFace, SyncKeyFace, TrioKeyFace

A, B, C = "sae:app.a", "sae:app.b", "sae:app.c"


@attrs.define
class World:
    directory: Path
    kme: FakeKME
    url: str
    face: type[TrioKeyFace] | type[SyncKeyFace]
    stack: AsyncExitStack

    def app(self, uri: str, *, suffix: str = "", node: str | None = None) -> KeyFace:
        face = self.face(self.url + suffix, issue(self.directory, uri), node)
        self.stack.push_async_callback(face.aclose)
        return face


@pytest.fixture(params=list(KEY_FACES))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    create_ca(tmp_path)
    credentials = issue(tmp_path, "kms:alice", ["127.0.0.1"])
    async with key_manager(credentials) as (kme, url), AsyncExitStack() as stack:
        yield World(tmp_path, kme, url, KEY_FACES[request.param], stack)


async def test_master_and_slave_get_the_same_keys_under_the_same_ids(world: World) -> None:
    made = await world.app(A).enc_keys(B, number=3, size=128)
    fetched = await world.app(B).dec_keys(A, made.key_ids)

    assert [len(key) for key in made] == [16, 16, 16]
    assert made.key_ids == fetched.key_ids
    assert [bytes(key) for key in made] == [bytes(key) for key in fetched]
    assert len({bytes(key) for key in made}) == 3


async def test_without_wishes_it_is_one_key_of_the_nodes_size(world: World) -> None:
    made = await world.app(A).enc_keys(B)

    assert [32] == [len(key) for key in made]


async def test_each_further_slave_gets_the_key_once(world: World) -> None:
    made = await world.app(A).enc_keys(B, additional_slaves=[C])

    for slave in (world.app(B), world.app(C)):
        assert bytes((await slave.dec_keys(A, made.key_ids))[0]) == bytes(made[0])
        with pytest.raises(KeyNotFound):
            await slave.dec_keys(A, made.key_ids)


async def test_one_unknown_id_among_known_ones_costs_no_key(world: World) -> None:
    made = await world.app(A).enc_keys(B, number=2)
    b = world.app(B)

    with pytest.raises(KeyNotFound):
        await b.dec_keys(A, [*made.key_ids, uuid4()])

    assert len(await b.dec_keys(A, made.key_ids)) == 2


async def test_a_key_of_another_master_is_refused(world: World) -> None:
    made = await world.app(A).enc_keys(B)

    with pytest.raises(Refused, match="not for us"):
        await world.app(B).dec_keys(C, made.key_ids)


async def test_the_status_of_a_pair_reads(world: World) -> None:
    status = await world.app(A).status(B)

    assert (status.master_sae_id, status.slave_sae_id) == (A, B)
    assert (status.key_size, status.min_key_size, status.max_key_size) == (256, 64, 8192)
    assert (status.stored_key_count, status.max_sae_id_count) == (1000, 2)
    assert status.extension["test_mood"] == "good"


async def test_no_key_left_is_no_fault_of_ours(world: World) -> None:
    world.kme.empty = True

    with pytest.raises(Unavailable, match="no key is left"):
        await world.app(A).enc_keys(B)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"size": 12}, "multiple of 8"),
        ({"size": 8}, "too much or too little"),
        ({"number": 17}, "too much or too little"),
        ({"number": 0}, "at least 1"),
        ({"extension_mandatory": [{"abc_route": "direct"}]}, "unsupported.*abc_route"),
        ({"extension_mandatory": [{"abc_route": object()}]}, "JSON"),
    ],
)
async def test_what_can_never_be_met_is_malformed_and_says_why(
    world: World, wanted: dict[str, object], words: str
) -> None:
    with pytest.raises(Malformed, match=words):
        await world.app(A).enc_keys(B, **wanted)


async def test_extensions_travel(world: World) -> None:
    made = await world.app(A).enc_keys(
        B, extension_mandatory=[{KNOWN: "blue"}], extension_optional=[{"x_y": [1, {"z": None}]}]
    )

    assert len(made) == 1


@pytest.mark.parametrize("suffix", ["/", "/api/v1/keys", "/api/v1/keys/"])
async def test_the_standards_own_path_may_be_in_the_address(world: World, suffix: str) -> None:
    assert len(await world.app(A, suffix=suffix).enc_keys(B)) == 1


async def test_any_sae_id_travels_in_a_path(world: World) -> None:
    assert len(await world.app(A).enc_keys("sae:odd/ü%")) == 1

    assert world.kme.asked[-1][2] == "/api/v1/keys/sae%3Aodd%2F%C3%BC%25/enc_keys"


async def test_what_cannot_be_asked_is_not_asked(world: World) -> None:
    a, key_id = world.app(A), uuid4()
    for ids in ([], [key_id, key_id]):
        with pytest.raises(Malformed, match="key_IDs"):
            await a.dec_keys(B, ids)
    with pytest.raises(Malformed, match="slave_SAE_ID"):
        await a.enc_keys("")

    assert [] == world.kme.asked


async def test_keys_are_wiped_at_the_end_of_their_block(world: World) -> None:
    with await world.app(A).enc_keys(B, number=2) as made:
        bits = [key.bits for key in made]
        assert "Keys(2)" == repr(made)
        assert f"KeyWithID({made[0].key_id}, 32 B)" == repr(made[0])

    assert [bytes(32), bytes(32)] == bits


async def test_another_node_is_not_asked(world: World) -> None:
    with pytest.raises(WrongServer, match="reached kms:alice"):
        await world.app(A, node="bob").status(B)

    assert (await world.app(A, node="alice").status(B)).key_size == 256


async def test_nobody_there_is_told(world: World) -> None:
    with pytest.raises(Unreachable):
        await world.face("https://127.0.0.1:1", issue(world.directory, A)).status(B)


async def test_frames_do_not_carry_keys_with_ids(world: World) -> None:
    with pytest.raises(ValueError, match="not https"):
        world.face("tls://127.0.0.1:1", issue(world.directory, A))
