"""The device adapter against devices that lie, stall, vanish and repeat themselves.

Time is the test's own: a whole day of silence takes no time.
"""

import struct
from random import Random
from uuid import UUID, uuid5

import attrs
import pytest
import trio
import trio.testing

from kms.adapters.etsi004_binary import (
    CloseResponse,
    ErrorReply,
    GetKeyRequest,
    GetKeyResponse,
    Message,
    OpenConnectRequest,
    OpenConnectResponse,
    encode,
)
from kms.adapters.qkd_socket import FAULTS, Connections
from kms.adapters.qkd_socket.backoff import Backoff
from kms.adapters.qkd_socket.cursor import AHEAD_MAX, CIRCLE, RECENT_MAX, TRIES_MAX, Cursor
from kms.adapters.qkd_socket.device import HANDED_OVER_MAX
from kms.adapters.qkd_socket.faults import REASON_LENGTH_MAX
from kms.domain.errors import LocalFault
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status
from kms.ports.device import DeviceBlock
from tests.adapters.scripted_qkd import (
    CHUNK,
    STREAM,
    Answer,
    ScriptedQKD,
    answering,
    config,
    honest,
    key,
    no_key,
    opened,
    opening,
    playing,
)
from tests.contract.device_intake import Block, Down

DAY_S = 24 * 60 * 60.0


@pytest.fixture
def clock(autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    return autojump_clock


def index_ids(*indexes: int) -> list[UUID]:
    return [uuid5(STREAM, str(index)) for index in indexes]


def small(index: int) -> bytes:
    """A key of a kilobyte, another for each index."""
    return struct.pack("!I", 1 + index) * 256


# ---- an honest device


@pytest.mark.parametrize("piece_bytes", [1, 7, 8, 9, 1 << 20])
async def test_answers_in_pieces_of_any_size_are_read_alike(
    clock: trio.testing.MockClock, piece_bytes: int
) -> None:
    qkd = ScriptedQKD(honest, piece_bytes=piece_bytes)
    async with playing(qkd) as scene:
        blocks = await scene.intake.until_blocks(3)

    assert index_ids(0, 1, 2) == [block.block_id for block in blocks]
    assert qkd.indexes[:3] == [0, 1, 2]
    assert qkd.connections == 1


async def test_the_stream_is_opened_with_what_the_operator_set(
    clock: trio.testing.MockClock,
) -> None:
    qkd = ScriptedQKD(honest)
    async with playing(qkd) as scene:
        await scene.intake.until_blocks(1)
    opening_request = qkd.asked[0]

    assert isinstance(opening_request, OpenConnectRequest)
    assert opening_request == OpenConnectRequest(
        source="qkd:fridge@a",
        destination="kms:a",
        qos=QoS(key_chunk_size=CHUNK, timeout=5000, metadata_mimetype="application/json"),
        ksid=STREAM,
    )


async def test_a_device_that_takes_one_request_per_connection_is_served_so(
    clock: trio.testing.MockClock,
) -> None:
    qkd = ScriptedQKD(honest)
    async with playing(qkd, connections=Connections.PER_CALL) as scene:
        await scene.intake.until_blocks(3)

    assert qkd.connections >= 4
    assert not scene.intake.faults


async def test_what_the_metadata_says_comes_with_the_block(clock: trio.testing.MockClock) -> None:
    said = UUID("01234567-89ab-4def-8123-456789abcdef")
    metadata = (
        b'{"age":3,"hops":0,"block_id":"01234567-89ab-4def-8123-456789abcdef",'
        b'"qber":0.03,"origin":"classical","vendor":{"deep":[1,2]}}'
    )
    async with playing(ScriptedQKD(answering(key(0, metadata=metadata)))) as scene:
        [block] = await scene.intake.until_blocks(1)

    assert (block.block_id, block.qber, block.origin) == (said, 0.03, "classical")


async def test_small_keys_are_gathered_to_blocks(clock: trio.testing.MockClock) -> None:
    def play(request: Message, count: int) -> Answer:
        if isinstance(request, GetKeyRequest):
            return key(request.index, bits=small(request.index))
        return opened(request)

    async with playing(ScriptedQKD(play), key_chunk_size=1024) as scene:
        blocks = await scene.intake.until_blocks(2)

    assert [uuid5(STREAM, "group 0"), uuid5(STREAM, "group 1")] == [b.block_id for b in blocks]
    assert small(3) == blocks[0].bits[3072:]


async def test_a_lost_small_key_costs_its_group_and_is_counted(
    clock: trio.testing.MockClock,
) -> None:
    def play(request: Message, count: int) -> Answer:
        if not isinstance(request, GetKeyRequest):
            return opened(request)
        if request.index == 2:
            return no_key(Status.INSUFFICIENT_KEY, 3)
        return key(request.index, bits=small(request.index))

    async with playing(ScriptedQKD(play), key_chunk_size=1024) as scene:
        blocks = await scene.intake.until_blocks(3)

    assert [uuid5(STREAM, f"group {g}") for g in (1, 2, 3)] == [b.block_id for b in blocks]
    assert scene.device.statistics().faults["incomplete-group"] == 1
    assert not scene.intake.faults


# ---- indexes


async def test_a_new_node_learns_where_the_device_is(clock: trio.testing.MockClock) -> None:
    qkd = ScriptedQKD(answering(no_key(Status.INSUFFICIENT_KEY, 7000)))
    async with playing(qkd) as scene:
        blocks = await scene.intake.until_blocks(2)

    assert qkd.indexes[:3] == [0, 7000, 7001]
    assert index_ids(7000, 7001) == [block.block_id for block in blocks]


async def test_the_node_waits_for_a_key_that_is_not_made_yet(
    clock: trio.testing.MockClock,
) -> None:
    empty = [no_key(Status.INSUFFICIENT_KEY, 0) for _ in range(20)]
    qkd = ScriptedQKD(answering(*empty))
    started = trio.current_time()
    async with playing(qkd, poll_s_min=1.0, poll_s_max=8.0) as scene:
        await scene.intake.until_blocks(1, timeout_s=DAY_S)
    waited_s = trio.current_time() - started

    assert qkd.indexes[:21] == [0] * 21
    # 1, 2, 4, then 17 times 8 seconds, each cut by up to half.
    assert 71 <= waited_s <= 144
    assert not scene.intake.faults


async def test_after_a_reconnection_the_stream_goes_on_where_it_was(
    clock: trio.testing.MockClock,
) -> None:
    qkd = ScriptedQKD(answering(key(0), key(1), None))
    async with playing(qkd) as scene:
        blocks = await scene.intake.until_blocks(4, timeout_s=DAY_S)

    assert qkd.indexes[:5] == [0, 1, 2, 2, 3]
    assert index_ids(0, 1, 2, 3) == [block.block_id for block in blocks]
    assert scene.intake.faults == ["cut"]


async def test_keys_out_of_order_are_all_taken_once(clock: trio.testing.MockClock) -> None:
    qkd = ScriptedQKD(answering(key(0), key(2), key(1), key(3)))
    async with playing(qkd) as scene:
        blocks = await scene.intake.until_blocks(4)

    assert index_ids(0, 2, 1, 3) == [block.block_id for block in blocks]


async def test_a_repeated_key_is_dropped_and_counted(clock: trio.testing.MockClock) -> None:
    qkd = ScriptedQKD(answering(key(0), key(0), key(1), key(0)))
    async with playing(qkd) as scene:
        blocks = await scene.intake.until_blocks(3)

    assert index_ids(0, 1, 2) == [block.block_id for block in blocks]
    assert scene.device.statistics().faults == {"duplicate": 2}


async def test_a_device_that_only_repeats_itself_is_at_fault(
    clock: trio.testing.MockClock,
) -> None:
    def play(request: Message, count: int) -> Answer:
        return key(0) if isinstance(request, GetKeyRequest) else opened(request)

    async with playing(ScriptedQKD(play)) as scene:
        await scene.intake.until(lambda: "wrong-index" in scene.intake.faults, timeout_s=DAY_S)

    assert len(scene.intake.blocks) == 1


def test_a_cursor_goes_on_past_the_largest_index() -> None:
    cursor = Cursor()

    assert cursor.named(CIRCLE - 2)

    taken = []
    for _ in range(4):
        taken.append(cursor.index)
        cursor.answered(cursor.index)

    assert taken == [CIRCLE - 2, CIRCLE - 1, 0, 1]


def test_a_cursor_never_goes_back_to_what_was_taken() -> None:
    cursor = Cursor()
    for index in range(10):
        cursor.answered(index)

    assert not cursor.named(3)
    assert not cursor.answered(3)
    assert cursor.index == 10


def test_a_cursor_that_ran_ahead_of_a_hanging_device_stays_near_and_comes_back() -> None:
    cursor = Cursor()
    cursor.answered(0)
    asked = set()
    for _ in range(1000):
        asked.add(cursor.index)
        cursor.failed()

    assert set(range(1, 1 + AHEAD_MAX)) == asked

    while cursor.index == 1:
        cursor.failed()

    assert cursor.named(1)
    assert cursor.index == 1


def test_a_cursor_follows_a_device_that_chooses_its_own_indexes() -> None:
    cursor = Cursor()

    assert cursor.answered(5)
    assert cursor.answered(500_000)
    assert cursor.index == 500_001
    assert not cursor.answered(500_000 - RECENT_MAX)


# ---- one fault each, and the next block still comes


def with_header(**changes: int) -> bytes:
    frame = bytearray(encode(key(0)))
    for name, value in changes.items():
        frame[{"major": 0, "service": 3}[name]] = value
    return bytes(frame)


def with_metadata(text: bytes) -> GetKeyResponse:
    return key(0, metadata=text)


GET_KEY_FAULTS: dict[str, tuple[str, Answer]] = {
    "hang-up": ("cut", None),
    "half a header": ("silent", bytes(encode(key(0)))[:5]),
    "half a frame": ("silent", bytes(encode(key(0)))[:1000]),
    "garbage": ("garbage", b"\xff" * 100),
    "a web server": ("garbage", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "4 GiB announced": ("oversized", bytes.fromhex("02010105ffffffff")),
    "another edition": ("wrong-version", with_header(major=3)),
    "another answer": ("wrong-service", CloseResponse(status=Status.SUCCESS)),
    "a question back": ("wrong-service", GetKeyRequest(ksid=STREAM, index=0)),
    "an error": ("error-reply", ErrorReply()),
    "an empty error": ("error-reply", bytes.fromhex("0201010000000000")),
    "a short key": ("wrong-length", key(0, bits=b"k" * (CHUNK - 1))),
    "a long key": ("wrong-length", key(0, bits=b"k" * (CHUNK + 1))),
    "no such status": (
        "bad-status",
        bytes(encode(key(0)))[:8] + struct.pack("!I", 77) + bytes(encode(key(0)))[12:],
    ),
    "a status of OPEN_CONNECT": ("bad-status", no_key(Status.KSID_IN_USE, 0)),
    "no quantum link": ("no-qkd-connection", no_key(Status.NO_QKD_CONNECTION, 0)),
    "stream unknown": ("peer-not-connected", no_key(Status.PEER_NOT_CONNECTED, 0)),
    "zeros": ("repeated-bits", key(0, bits=bytes(CHUNK))),
    "metadata no JSON": ("bad-metadata", with_metadata(b"\x00\xff")),
    "metadata no object": ("bad-metadata", with_metadata(b"[1]")),
    "metadata cut short": ("bad-metadata", with_metadata(b'{"age":')),
    "metadata deep": ("bad-metadata", with_metadata(b'{"x":' + b"[" * 8000)),
    "metadata deep and closed": (
        "bad-metadata",
        with_metadata(b'{"age":' + b"[" * 7000 + b"]" * 7000 + b"}"),
    ),
    "metadata too large": (
        "oversized",
        struct.pack("!4BI", 2, 1, 1, 5, 16 + CHUNK + 20_000) + bytes(100),
    ),
    "age of another type": ("bad-metadata", with_metadata(b'{"age":"1"}')),
    "age below zero": ("bad-metadata", with_metadata(b'{"age":-1}')),
    "age beyond uint32": ("bad-metadata", with_metadata(b'{"age":4294967296}')),
    "age of 4000 digits": ("bad-metadata", with_metadata(b'{"age":' + b"9" * 4000 + b"}")),
    "block id no UUID": ("bad-metadata", with_metadata(b'{"block_id":"0"}')),
    "origin unknown": ("bad-metadata", with_metadata(b'{"origin":"magic"}')),
    "QBER of text": ("bad-metadata", with_metadata(b'{"qber":"0.1"}')),
    "QBER NaN": ("bad-metadata", with_metadata(b'{"qber":NaN}')),
    "QBER infinite": ("bad-metadata", with_metadata(b'{"qber":1e999}')),
    "QBER 0.7": ("qber-invalid", with_metadata(b'{"qber":0.7}')),
    "QBER below zero": ("qber-invalid", with_metadata(b'{"qber":-0.01}')),
    "metadata never enough": (
        "bad-metadata",
        no_key(Status.METADATA_SIZE_INSUFFICIENT, 0, metadata=bytes(4)),
    ),
}


@pytest.mark.parametrize("fault", GET_KEY_FAULTS)
async def test_a_bad_answer_is_named_changes_nothing_and_is_survived(
    clock: trio.testing.MockClock, fault: str
) -> None:
    name, answer = GET_KEY_FAULTS[fault]
    qkd = ScriptedQKD(answering(answer))
    async with playing(qkd) as scene:
        blocks = await scene.intake.until_blocks(2, timeout_s=DAY_S)

    assert [name] == scene.intake.faults
    assert scene.device.statistics().faults == {name: 1}
    assert len(blocks) == 2
    assert all(any(block.bits) for block in blocks)


def refusing(status: Status) -> OpenConnectResponse:
    return OpenConnectResponse(status=status, qos=QoS(), ksid=None)


def opened_with(*, ksid: UUID | None = STREAM, chunk_bytes: int = CHUNK) -> OpenConnectResponse:
    return OpenConnectResponse(
        status=Status.SUCCESS, qos=QoS(key_chunk_size=chunk_bytes), ksid=ksid
    )


OPEN_CONNECT_FAULTS: dict[str, tuple[str, Answer]] = {
    "hang-up": ("cut", None),
    "silence": ("silent", b""),
    "garbage": ("garbage", b"\xff" * 8),
    "a key unasked": ("wrong-service", key(0)),
    "another stream": ("wrong-ksid", opened_with(ksid=UUID(int=STREAM.int ^ 1))),
    "no stream": ("wrong-ksid", opened_with(ksid=None)),
    "other keys": ("wrong-length", opened_with(chunk_bytes=32)),
    "no quantum link": ("no-qkd-connection", refusing(Status.NO_QKD_CONNECTION)),
    "stream in use": ("ksid-in-use", refusing(Status.KSID_IN_USE)),
    "timed out": ("device-timeout", refusing(Status.TIMEOUT)),
    "counter-proposal": ("qos-not-met", refusing(Status.QOS_NOT_MET)),
    "a status of GET_KEY": ("bad-status", refusing(Status.INSUFFICIENT_KEY)),
}


@pytest.mark.parametrize("fault", OPEN_CONNECT_FAULTS)
async def test_a_stream_that_does_not_open_is_named_and_opened_again(
    clock: trio.testing.MockClock, fault: str
) -> None:
    name, answer = OPEN_CONNECT_FAULTS[fault]
    async with playing(ScriptedQKD(opening(answer))) as scene:
        blocks = await scene.intake.until_blocks(1, timeout_s=DAY_S)

    assert [name] == scene.intake.faults
    assert index_ids(0) == [block.block_id for block in blocks]


def test_every_fault_has_a_hint_and_a_test() -> None:
    tested = {name for name, _ in (GET_KEY_FAULTS | OPEN_CONNECT_FAULTS).values()}
    tested |= {name for name, _ in OPEN_CONNECT_FAULTS.values()}

    assert set(FAULTS) - {"refused", "wrong-index"} == tested
    assert all(FAULTS.values())


async def test_a_device_that_is_off_is_one_event_and_many_attempts(
    clock: trio.testing.MockClock,
) -> None:
    refusals = [ConnectionRefusedError("nobody there") for _ in range(50)]
    async with playing(ScriptedQKD(honest), refusals=refusals) as scene:
        await scene.intake.until_blocks(1, timeout_s=DAY_S)

    assert scene.intake.faults == ["refused"]
    assert scene.device.statistics().faults == {"refused": 50}
    assert scene.device.statistics().connects == 1


async def test_a_broken_handshake_is_refused(clock: trio.testing.MockClock) -> None:
    refusals = [trio.BrokenResourceError("certificate verify failed")]
    async with playing(ScriptedQKD(honest), refusals=refusals) as scene:
        await scene.intake.until_blocks(1, timeout_s=DAY_S)

    assert scene.intake.faults == ["refused"]


async def test_an_answer_that_drips_is_silence(clock: trio.testing.MockClock) -> None:
    class Dripping(ScriptedQKD):
        async def converse(self, stream: trio.StapledStream) -> None:  # type: ignore[type-arg]
            self.connections += 1
            if self.connections > 1:
                await super().converse(stream)
                return
            for octet in encode(opened_with()):
                await trio.sleep(1)
                try:
                    await stream.send_all(bytes([octet]))
                except trio.BrokenResourceError:
                    return

    async with playing(Dripping(honest)) as scene:
        await scene.intake.until_blocks(1, timeout_s=DAY_S)

    assert scene.intake.faults == ["silent"]


async def test_bits_that_came_before_under_another_index_are_refused(
    clock: trio.testing.MockClock,
) -> None:
    again = attrs.evolve(key(0), index=1)
    async with playing(ScriptedQKD(answering(key(0), again))) as scene:
        blocks = await scene.intake.until_blocks(3, timeout_s=DAY_S)

    assert scene.intake.faults == ["repeated-bits"]
    assert len({block.bits for block in blocks}) == 3


async def test_a_key_of_no_bits_is_a_normal_day(clock: trio.testing.MockClock) -> None:
    async with playing(ScriptedQKD(answering(key(0, bits=b"")))) as scene:
        blocks = await scene.intake.until_blocks(1, timeout_s=DAY_S)

    assert index_ids(1) == [block.block_id for block in blocks]
    assert scene.device.statistics().faults == {"empty": 1}
    assert not scene.intake.faults


async def test_more_metadata_room_is_offered_when_the_device_needs_it(
    clock: trio.testing.MockClock,
) -> None:
    needed = no_key(Status.METADATA_SIZE_INSUFFICIENT, 0, metadata=bytes(2000))
    qkd = ScriptedQKD(answering(needed))
    async with playing(qkd) as scene:
        await scene.intake.until_blocks(1)
    sizes = [len(each.metadata) for each in qkd.asked if isinstance(each, GetKeyRequest)]

    assert sizes[:2] == [512, 2000]
    assert not scene.intake.faults


async def test_a_key_that_the_device_can_never_give_is_stepped_over(
    clock: trio.testing.MockClock,
) -> None:
    def play(request: Message, count: int) -> Answer:
        if isinstance(request, GetKeyRequest) and request.index == 1:
            return b"\xff" * 64
        return honest(request, count)

    async with playing(ScriptedQKD(play)) as scene:
        blocks = await scene.intake.until_blocks(3, timeout_s=DAY_S)

    assert index_ids(0, 2, 3) == [block.block_id for block in blocks]
    assert scene.device.statistics().faults["garbage"] == TRIES_MAX


async def test_a_device_that_names_a_new_index_each_time_does_not_make_us_spin(
    clock: trio.testing.MockClock,
) -> None:
    def play(request: Message, count: int) -> Answer:
        if isinstance(request, GetKeyRequest):
            return no_key(Status.INSUFFICIENT_KEY, request.index + 1000)
        return opened(request)

    qkd = ScriptedQKD(play)
    async with playing(qkd):
        await trio.sleep(60)

    assert 1 < len(qkd.indexes) < 60


async def test_nothing_is_asked_of_the_device_while_the_node_is_full(
    clock: trio.testing.MockClock,
) -> None:
    qkd = ScriptedQKD(honest)
    async with playing(qkd) as scene:
        scene.intake.fill()
        await trio.sleep(DAY_S)

        assert not qkd.indexes

        scene.intake.drain()
        await scene.intake.until_blocks(1)


async def test_a_slow_disk_holds_up_the_device_only_after_a_few_blocks(
    clock: trio.testing.MockClock,
) -> None:
    qkd = ScriptedQKD(honest)
    durable = trio.Event()
    async with playing(qkd) as scene:
        take = scene.intake.block

        async def slowly(block: DeviceBlock) -> None:
            await take(block)
            await durable.wait()

        scene.intake.block = slowly  # type: ignore[method-assign]
        await trio.sleep(DAY_S)

        assert HANDED_OVER_MAX == len(scene.intake.blocks) == len(qkd.indexes)

        durable.set()
        await scene.intake.until_blocks(3 * HANDED_OVER_MAX)


async def test_a_fault_is_told_after_the_blocks_before_it(clock: trio.testing.MockClock) -> None:
    async with playing(ScriptedQKD(answering(key(0), b"garbage" * 9))) as scene:
        take = scene.intake.block

        async def slowly(block: DeviceBlock) -> None:
            await trio.sleep(DAY_S / 2)
            await take(block)

        scene.intake.block = slowly  # type: ignore[method-assign]
        await scene.intake.until(lambda: bool(scene.intake.faults), timeout_s=DAY_S)

    told = [each for each in scene.intake.story if isinstance(each, Block | Down)]

    assert isinstance(told[0], Block)
    assert told[1] == Down("garbage")


async def test_no_fault_tells_key_bits(clock: trio.testing.MockClock) -> None:
    secret = b"TOPSECRET" * 500
    told: list[str] = []
    answers: list[Answer] = [
        key(0, bits=secret),
        key(0, bits=secret[:CHUNK], metadata=b'{"qber":0.7}'),
        bytes(encode(key(0, bits=secret[:CHUNK]))) + b"TOPSECRET",
    ]
    async with playing(ScriptedQKD(answering(*answers))) as scene:
        scene.intake.down = lambda fault, reason: told.append(reason)  # type: ignore[method-assign]
        await scene.intake.until_blocks(2, timeout_s=DAY_S)

    assert len(told) >= 2
    assert not any("SECRET" in reason for reason in told)


async def test_refused_bits_are_wiped(clock: trio.testing.MockClock) -> None:
    kept: list[Secret] = []
    made = Secret.__init__

    def remember(self: Secret, bits: bytes) -> None:
        made(self, bits)
        kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        answers = (key(0, metadata=b"{"), key(0), key(0))
        qkd = ScriptedQKD(answering(*answers))
        patch.setattr(Secret, "__init__", remember)
        async with playing(qkd) as scene:
            await scene.intake.until_blocks(1, timeout_s=DAY_S)
            await scene.intake.until(lambda: scene.device.statistics().faults.get("duplicate") == 1)
            scene.intake.fill()
            await trio.sleep(1)
            received = [each for each in kept if len(each) == CHUNK]

            assert received
            assert all(not any(each.expose()) for each in received[:2])


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": "a..b"},
        {"host": "a" * 64},
        {"host": "nul\0"},
        {"host": "zwei wörter"},
        {"port": 0},
        {"port": 65536},
        {"source": "with space"},
        {"source": ""},
        {"destination": "ü:x"},
        {"destination": "a" * 5000},
        {"key_chunk_size": 0},
        {"key_chunk_size": 2**30},
        {"answer_timeout_s": 0.0},
        {"answer_timeout_s": float("nan")},
        {"poll_s_min": 2.0, "poll_s_max": 1.0},
        {"backoff_s_min": 0.0},
        {"backoff_s_max": float("inf")},
    ],
    ids=str,
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(LocalFault) as raised:
        config(**wrong)

    assert next(iter(wrong)).removesuffix("_min").removesuffix("_max") in raised.value.reason


@pytest.mark.parametrize("host", ["device", "qkd-1.site.example.", "10.0.0.1", "::1"])
def test_names_and_addresses_are_hosts(host: str) -> None:
    assert config(host=host).host == host


async def test_a_long_word_of_the_device_is_cut_in_the_reason(
    clock: trio.testing.MockClock,
) -> None:
    told: list[str] = []
    answer = key(0, metadata=b'{"origin":"' + b"x" * 10_000 + b'"}')
    async with playing(ScriptedQKD(answering(answer))) as scene:
        scene.intake.down = lambda fault, reason: told.append(reason)  # type: ignore[method-assign]
        await scene.intake.until_blocks(1, timeout_s=DAY_S)

    assert len(told) == 1
    assert len(told[0]) <= REASON_LENGTH_MAX


def test_waits_grow_to_their_bound_and_are_never_in_step() -> None:
    one = Backoff(1.0, 8.0, Random(1))
    other = Backoff(1.0, 8.0, Random(2))
    waits = [one.next_s() for _ in range(6)]
    others = [other.next_s() for _ in range(6)]

    assert all(
        full / 2 <= wait <= full for wait, full in zip(waits, (1, 2, 4, 8, 8, 8), strict=True)
    )
    assert waits != others

    one.reset()

    assert one.next_s() <= 1.0
