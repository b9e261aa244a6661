"""The twin on its socket, and two ends of a pair with the real adapter."""

import json
import signal
import ssl
import subprocess
import sys
from random import Random
from typing import Any
from uuid import UUID

import pytest
import trio
import trio.testing
import trustme

from kms.adapters.etsi004_binary import (
    RESPONSES,
    CloseRequest,
    CloseResponse,
    ErrorReply,
    GetKeyRequest,
    GetKeyResponse,
    Message,
    OpenConnectRequest,
    OpenConnectResponse,
    Reader,
    Request,
    encode,
)
from kms.adapters.qkd_socket import QKDSocketConfig, QKDSocketDevice
from kms.domain.names import KSID, DeviceId
from kms.domain.status import QoS, Status
from kms.twin.config import Knobs, TwinConfig
from kms.twin.device import (
    CONNECTIONS_MAX,
    METADATA_BYTES,
    Address,
    DeviceTwin,
    serve,
)
from tests.contract.device_intake import RecordingIntake

STREAM = KSID(UUID("6f2c8d5e-0b1a-4c3d-9e4f-5a6b7c8d9e0f"))
OTHER = KSID(UUID("6f2c8d5e-0b1a-4c3d-9e4f-5a6b7c8d9e00"))
CHUNK = 4096
DAY_S = 24 * 60 * 60.0


def config(knobs: Knobs | None = None, **changes: Any) -> TwinConfig:
    fields: dict[str, Any] = {
        "link": "a~b",
        "end": "A",
        "seed": "s",
        "ksid": STREAM,
        "key_chunk_size": CHUNK,
        "rate_bps": 0,
        "knobs": knobs or Knobs(),
    }
    return TwinConfig(**{**fields, **changes})


def now_ms() -> int:
    """Wall time that goes with the test's own clock."""
    return 1_800_000_000_000 + int(1000 * trio.current_time())


class Client:
    """One connection to a twin, in memory."""

    def __init__(self, twin: DeviceTwin, nursery: trio.Nursery) -> None:
        self.stream, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(twin.converse, theirs)
        self._reader = Reader(payload_bytes_max=1 << 20, services=RESPONSES)

    async def ask(self, request: Request) -> Message:
        await self.stream.send_all(encode(request))
        return await self.answer()

    async def answer(self) -> Message:
        while data := await self.stream.receive_some(len(self._reader.space())):
            for message in self._reader.feed(data):
                return message
        raise EOFError

    async def get(self, index: int, *, offered: int = 512) -> GetKeyResponse:
        request = GetKeyRequest(ksid=STREAM, index=index, metadata=bytes(offered))
        answer = await self.ask(request)
        assert isinstance(answer, GetKeyResponse)
        return answer


def opening(ksid: UUID | None = STREAM, chunk_bytes: int = CHUNK) -> OpenConnectRequest:
    return OpenConnectRequest(
        source="qkd:a",
        destination="kms:a",
        qos=QoS(key_chunk_size=chunk_bytes, metadata_mimetype="application/json"),
        ksid=ksid,
    )


async def test_the_predefined_stream_opens_under_its_name_or_none(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    client = Client(DeviceTwin(config(), now_ms=now_ms), nursery)
    answers = [await client.ask(opening(ksid)) for ksid in (STREAM, None, OTHER)]
    [known, unnamed, foreign] = [a for a in answers if isinstance(a, OpenConnectResponse)]

    assert (known.status, known.ksid) == (Status.SUCCESS, STREAM)
    assert (unnamed.status, unnamed.ksid) == (Status.SUCCESS, STREAM)
    assert foreign.status == Status.NO_QKD_CONNECTION


async def test_another_chunk_size_is_counter_proposed(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    client = Client(DeviceTwin(config(), now_ms=now_ms), nursery)
    answer = await client.ask(opening(chunk_bytes=32))

    assert isinstance(answer, OpenConnectResponse)
    assert (answer.status, answer.qos.key_chunk_size) == (Status.QOS_NOT_MET, CHUNK)


async def test_a_foreign_stream_gets_no_key_and_a_close_changes_nothing(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    client = Client(DeviceTwin(config(), now_ms=now_ms), nursery)
    foreign = await client.ask(GetKeyRequest(ksid=OTHER, index=0))
    closed = [await client.ask(CloseRequest(ksid=ksid)) for ksid in (STREAM, OTHER)]

    assert isinstance(foreign, GetKeyResponse)
    assert (foreign.status, len(foreign.key)) == (Status.PEER_NOT_CONNECTED, 0)
    assert closed == [
        CloseResponse(status=Status.SUCCESS),
        CloseResponse(status=Status.PEER_NOT_CONNECTED),
    ]
    assert (await client.get(0)).status == Status.SUCCESS


async def test_metadata_that_does_not_fit_costs_no_key(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    client = Client(DeviceTwin(config(), now_ms=now_ms), nursery)
    short = await client.get(0, offered=10)
    full = await client.get(0, offered=len(short.metadata))

    assert (short.status, len(short.key)) == (Status.METADATA_SIZE_INSUFFICIENT, 0)
    assert len(short.metadata) == METADATA_BYTES
    assert full.status == Status.SUCCESS
    assert set(json.loads(full.metadata)) == {"age", "hops", "block_id", "qber", "origin"}


async def test_metadata_of_size_0_is_no_metadata(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    client = Client(DeviceTwin(config(), now_ms=now_ms), nursery)

    assert not (await client.get(0, offered=0)).metadata


async def test_a_stranger_gets_an_error_and_the_next_client_is_served(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    twin = DeviceTwin(config(), now_ms=now_ms)
    stranger = Client(twin, nursery)
    await stranger.stream.send_all(b"GET / HTTP/1.1\r\n\r\n")

    assert isinstance(await stranger.answer(), ErrorReply)
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await stranger.answer()
    assert (await Client(twin, nursery).get(0)).status == Status.SUCCESS


async def test_half_a_request_is_not_waited_for_forever(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    client = Client(DeviceTwin(config(), now_ms=now_ms), nursery)
    await client.stream.send_all(b"\x02\x01")

    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.answer()


async def test_an_idle_client_is_kept(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    client = Client(DeviceTwin(config(), now_ms=now_ms), nursery)
    await client.get(0)
    await trio.sleep(30 * DAY_S)

    assert (await client.get(1)).status == Status.SUCCESS


async def test_one_connection_too_many_is_hung_up(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    twin = DeviceTwin(config(), now_ms=now_ms)
    clients = [Client(twin, nursery) for _ in range(CONNECTIONS_MAX)]
    for client in clients:
        await client.ask(opening())
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await Client(twin, nursery).ask(opening())

    await clients[0].stream.aclose()
    await trio.testing.wait_all_tasks_blocked()

    assert isinstance(await Client(twin, nursery).ask(opening()), OpenConnectResponse)


async def test_an_end_that_is_down_hangs_up_and_comes_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    twin = DeviceTwin(config(Knobs(down=((10.0, 20.0),))), now_ms=now_ms)
    client = Client(twin, nursery)
    await client.get(0)
    await trio.sleep(11)
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.get(1)
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await Client(twin, nursery).get(1)
    await trio.sleep(10)

    assert (await Client(twin, nursery).get(1)).status == Status.SUCCESS


async def test_an_end_that_falls_silent_still_notices_who_left(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    twin = DeviceTwin(config(Knobs(silent=1.0)), now_ms=now_ms)
    for index in range(2 * CONNECTIONS_MAX):
        client = Client(twin, nursery)
        with trio.move_on_after(5) as scope:
            await client.get(index)

        assert scope.cancelled_caught

        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()


async def test_different_bits_come_under_the_same_id(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    ends = [config(Knobs(different=0.3), end="A"), config(end="B")]
    clients = [Client(DeviceTwin(end, now_ms=now_ms), nursery) for end in ends]
    same = 0
    for index in range(50):
        [one, other] = [await client.get(index) for client in clients]
        ids = {json.loads(each.metadata)["block_id"] for each in (one, other)}

        assert len(ids) == 1

        same += one.key == other.key

    assert 25 < same < 45


# ---- with the real adapter


def adapter(address: Address, **changes: Any) -> QKDSocketDevice:
    fields: dict[str, Any] = {
        "device_id": DeviceId("fridge"),
        "host": address.host,
        "port": address.port,
        "ksid": STREAM,
        "source": "qkd:a",
        "destination": "kms:a",
        "key_chunk_size": CHUNK,
        "answer_timeout_s": 5.0,
        "poll_s_min": 0.001,
        "poll_s_max": 0.01,
        "backoff_s_min": 0.001,
        "backoff_s_max": 0.02,
    }
    return QKDSocketDevice(QKDSocketConfig(**{**fields, **changes}), jitter=Random(1))


async def test_two_ends_with_all_faults_on_never_differ_in_what_both_have(
    nursery: trio.Nursery,
) -> None:
    """Every fault that the adapter must see is on at both ends; what gets through agrees."""
    intakes = []
    for end in ("A", "B"):
        knobs = Knobs(
            lost=0.1,
            duplicate=0.1,
            reordered=0.1,
            garbage=0.05,
            oversized=0.05,
            half_frame=0.05,
            wrong_version=0.05,
            wrong_service=0.05,
            wrong_length=0.05,
            bad_status=0.05,
            bad_metadata=0.05,
            zeros=0.05,
            wrong_ksid=0.1,
        )
        address: Address = await nursery.start(serve, config(knobs, end=end))
        device, intake = adapter(address), RecordingIntake()
        nursery.start_soon(device.run, intake)
        intakes.append(intake)
    [one, other] = intakes
    await one.until_blocks(100)
    await other.until_blocks(100)
    mine = {block.block_id: block.bits for block in one.blocks}
    theirs = {block.block_id: block.bits for block in other.blocks}
    both = mine.keys() & theirs.keys()

    assert len(both) >= 50
    assert len(mine) == len(one.blocks)
    assert all(mine[block_id] == theirs[block_id] for block_id in both)
    assert mine.keys() != theirs.keys()


async def test_a_device_that_restarts_mid_stream_is_followed() -> None:
    intake = RecordingIntake()
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first:
            address: Address = await first.start(serve, config())
            device = adapter(address)
            nursery.start_soon(device.run, intake)
            await intake.until_blocks(20)
            first.cancel_scope.cancel()
        await intake.until(lambda: bool(intake.faults))
        before = len(intake.blocks)
        await nursery.start(serve, config(port=address.port))
        await intake.until_blocks(before + 20)
        nursery.cancel_scope.cancel()
    ids = [block.block_id for block in intake.blocks]

    assert len(set(ids)) == len(ids)
    assert set(intake.faults) <= {"cut", "refused"}


async def test_a_node_that_restarts_gets_no_block_again(nursery: trio.Nursery) -> None:
    address: Address = await nursery.start(serve, config())
    intake = RecordingIntake()
    for count in (10, 20):
        async with trio.open_nursery() as node:
            node.start_soon(adapter(address).run, intake)
            await intake.until_blocks(count)
            node.cancel_scope.cancel()
    ids = [block.block_id for block in intake.blocks]

    assert len(set(ids)) == len(ids) >= 20


async def test_small_keys_of_two_ends_gather_alike(nursery: trio.Nursery) -> None:
    stories = []
    for end in ("A", "B"):
        knobs = Knobs(lost=0.02, reordered=0.1)
        address: Address = await nursery.start(serve, config(knobs, end=end, key_chunk_size=256))
        intake = RecordingIntake()
        nursery.start_soon(adapter(address, key_chunk_size=256).run, intake)
        stories.append(intake)
    mine, theirs = [
        {block.block_id: block.bits for block in await intake.until_blocks(20)}
        for intake in stories
    ]
    both = mine.keys() & theirs.keys()

    assert both
    assert all(mine[block_id] == theirs[block_id] for block_id in both)


async def test_a_device_behind_tls_is_read_and_a_false_one_refused(
    nursery: trio.Nursery,
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    server = _server_context(authority)
    address: Address = await nursery.start(lambda **k: serve(config(), tls=server, **k))
    good, bad = RecordingIntake(), RecordingIntake()
    for ca, intake in ((authority, good), (stranger, bad)):
        context = _client_context(ca)
        nursery.start_soon(adapter(address, tls=context).run, intake)
    await good.until_blocks(5)
    await bad.until(lambda: "refused" in bad.faults)

    assert not good.faults
    assert not bad.blocks


def _server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def _client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# ---- as a process


@pytest.mark.processes
@pytest.mark.slow
async def test_two_processes_agree_and_stop_cleanly_at_sigterm() -> None:
    command = [sys.executable, "-m", "kms.twin", "--set", "link=a~b", "--set", "seed=s"]
    command += ["--set", f"ksid={STREAM}", "--set", f"key_chunk_size={CHUNK}"]
    command += ["--set", "rate_bps=3276800"]
    processes = [
        subprocess.Popen([*command, "--set", f"end={end}"], stdout=subprocess.PIPE, text=True)
        for end in ("A", "B")
    ]
    try:
        intakes = []
        async with trio.open_nursery() as nursery:
            for process in processes:
                assert process.stdout
                line = await trio.to_thread.run_sync(process.stdout.readline)
                address = Address(**json.loads(line))
                intakes.append(RecordingIntake())
                nursery.start_soon(adapter(address).run, intakes[-1])
            [one, other] = intakes
            await one.until_blocks(20)
            await other.until(lambda: len(_shared(one, other)) >= 10)
            nursery.cancel_scope.cancel()
        for process in processes:
            process.send_signal(signal.SIGTERM)
        statuses = [process.wait(timeout=10) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()

    assert statuses == [0, 0]
    for block_id in _shared(one, other):
        [mine] = [block.bits for block in one.blocks if block.block_id == block_id]
        [theirs] = [block.bits for block in other.blocks if block.block_id == block_id]

        assert mine == theirs


@pytest.mark.processes
@pytest.mark.slow
def test_a_wrong_configuration_is_said_in_two_lines_and_status_1() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kms.twin", "--set", "link=a~b"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def _shared(one: RecordingIntake, other: RecordingIntake) -> set[UUID]:
    return {block.block_id for block in one.blocks} & {block.block_id for block in other.blocks}
