"""The cost of each step on one core, by itself.

What a step costs says where a scenario's time goes. Nothing here crosses a process. It is processor
time, but for what waits for the disk. Steps that no floor belongs to have none.
"""

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog
import trio
from hypercorn.typing import ASGIReceiveEvent, ASGISendEvent, ConnectionState, HTTPScope

from kms.adapters import pki
from kms.adapters.edge import PEER_DER
from kms.adapters.entropy import OSEntropy
from kms.adapters.etsi004_http import etsi004_app
from kms.adapters.journal_file import FileJournal
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.adapters.memory.sealer import MemorySealer
from kms.adapters.store_sqlite import SQLiteStore
from kms.adapters.store_sqlite.unit import context, seal
from kms.adapters.witness_file import FileWitness
from kms.bench.figures import Figure
from kms.bench.plan import Plan
from kms.bench.two_nodes import ANN, BEN, TwoNodes
from kms.domain.attestation import Attestation
from kms.domain.audit import AuditEntry
from kms.domain.effects import Effect, Save, StoreMaterial
from kms.domain.limits import CHUNK_UNIT_BYTES, KIB
from kms.domain.names import MaterialId, NodeId
from kms.domain.otp import one_time_tag, xor
from kms.domain.records import NodeRecord
from kms.domain.requests import GetKey, OpenConnect
from kms.domain.secret import Secret
from kms.domain.status import QoS

NAME = "steps"
_GETS = 512


async def measure(plan: Plan, directory: Path) -> list[Figure]:
    """Each step by itself, and the floors that some of them have."""
    found = [_protection(plan), _sealing(plan), _handling(plan)]
    found += await _keeping(plan, directory)
    found.append(await _request(plan, directory))
    return found


def _protection(plan: Plan) -> Figure:
    data, pad, key = os.urandom(64 * KIB), os.urandom(64 * KIB), os.urandom(32)
    return Figure(
        name=NAME,
        what="XOR and one-time MAC of 64 KiB",
        measured=_us(plan, lambda: one_time_tag(key, xor(data, pad))),
        unit="us",
        floor=_us(plan, lambda: bytearray(data)),
        floor_what="copying 64 KiB",
    )


def _sealing(plan: Plan) -> Figure:
    plain, sealer, entropy = os.urandom(CHUNK_UNIT_BYTES), MemorySealer(), OSEntropy()
    bound = context(MaterialId("bench"), 0, 0, len(plain))
    return Figure(
        name=NAME,
        what="sealing a unit of 64 KiB",
        measured=_us(plan, lambda: seal(sealer, entropy, plain, bound)),
        unit="us",
        floor=_us(plan, lambda: bytearray(plain)),
        floor_what="copying 64 KiB",
    )


def _handling(plan: Plan) -> Figure:
    """The node's own part of a GET_KEY: no socket, no disk."""
    nodes = TwoNodes()
    ksid = nodes.stream(QoS(key_chunk_size=32))
    get, spent_s, count = GetKey(ksid=ksid), 0.0, 0
    while spent_s < plan.step_s:
        nodes.make_ready(ksid, _GETS)
        effects: list[Effect] = []
        began = time.process_time()
        for _ in range(_GETS):
            effects += nodes.ask_alone(ANN, get)
        spent_s += time.process_time() - began
        count += _GETS
        nodes.carry_out(ANN, effects)
    return Figure(
        name=NAME,
        what="handle() of one GET_KEY",
        measured=spent_s / count * 1e6,
        unit="us",
    )


async def _keeping(plan: Plan, directory: Path) -> list[Figure]:
    """One commit, one journal entry, one word to the witness: each waits for the disk."""
    node = NodeId("bench")
    store = await SQLiteStore.open(directory / "steps", MemorySealer(), node=node)
    journal = await FileJournal.open(directory / "steps.jsonl")
    witness = await FileWitness.open(directory / "steps.witness", node)
    try:
        entry = AuditEntry(wall_ms=0, event="bench", actor="bench", subject="bench")
        boot = 0

        async def record() -> None:
            nonlocal boot
            boot += 1
            await store.commit([Save(NodeRecord(node=node, boot=boot))])

        async def unit() -> None:
            nonlocal boot
            boot += 1
            bits = Secret(bytes(CHUNK_UNIT_BYTES))
            name = MaterialId(f"bench/{boot}")
            write = StoreMaterial(material=name, bits=bits, unit_bytes=CHUNK_UNIT_BYTES)
            await store.commit([write])

        async def line() -> None:
            await journal.append([entry])

        async def word() -> None:
            nonlocal boot
            boot += 1
            said = Attestation(node=node, store="0" * 32, generation=boot, wall_ms=boot)
            await witness.attest(said)

        floor = await trio.to_thread.run_sync(_sync_us, plan, directory)
        steps: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("commit of one record", record),
            ("commit of one sealed unit of 64 KiB", unit),
            ("journal entry", line),
            ("witness", word),
        )
        return [
            Figure(
                name=NAME,
                what=what,
                measured=await _us_each(plan, step, time.perf_counter),
                unit="us",
                floor=floor,
                floor_what="writing and syncing 4 KiB",
            )
            for what, step in steps
        ]
    finally:
        await witness.aclose()
        await journal.aclose()
        await store.aclose()


async def _request(plan: Plan, directory: Path) -> Figure:
    """A GET_KEY in JSON through Quart and our handlers: no socket, and a node that answers at
    once."""
    application = pki.issue(_authority(directory), ANN)
    der = _der(application.certificate)
    northbound = MemoryNorthbound()
    qos = QoS(key_chunk_size=32)
    opened = await northbound.open_connect(ANN, OpenConnect(source=ANN, destination=BEN, qos=qos))
    assert opened.ksid is not None, "the counter takes everybody"
    joined = OpenConnect(source=BEN, destination=ANN, qos=qos, ksid=opened.ksid)
    await northbound.open_connect(BEN, joined)
    app = etsi004_app(northbound, structlog.get_logger())
    body = msgspec.json.encode({"Key_stream_ID": str(opened.ksid)})
    scope = _scope(body, der)
    statuses: list[int] = []

    async def send(event: ASGISendEvent) -> None:
        if event["type"] == "http.response.start":
            statuses.append(event["status"])

    async def one() -> None:
        heard = trio.Event()

        async def receive() -> ASGIReceiveEvent:
            if heard.is_set():
                await trio.sleep_forever()
            heard.set()
            return {"type": "http.request", "body": body, "more_body": False}

        await app(scope, receive, send)

    measured = await _us_each(plan, one)
    assert set(statuses) == {200}, "every request was answered"
    return Figure(name=NAME, what="GET_KEY in JSON through Quart", measured=measured, unit="us")


def _authority(directory: Path) -> Path:
    path = directory / "steps-pki"
    pki.create_ca(path)
    return path


def _der(certificate: Path) -> bytes:
    import ssl

    pem = certificate.read_text("ascii")
    return ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + len("-----END CERTIFICATE-----")])


def _scope(body: bytes, der: bytes) -> HTTPScope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": "/etsi004/v2.1.1/get_key",
        "raw_path": b"/etsi004/v2.1.1/get_key",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"bench"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": ConnectionState({PEER_DER: der}),
        "extensions": {},
    }


def _us(
    plan: Plan, step: Callable[[], object], clock: Callable[[], float] = time.process_time
) -> float:
    """Mean of as many as fit; processor time, unless the step waits for the disk."""
    began, count = clock(), 0
    while (spent_s := clock() - began) < plan.step_s:
        step()
        count += 1
    return spent_s / count * 1e6


async def _us_each(
    plan: Plan, step: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.process_time
) -> float:
    began, count = clock(), 0
    while (spent_s := clock() - began) < plan.step_s:
        await step()
        count += 1
    return spent_s / count * 1e6


def _sync_us(plan: Plan, directory: Path) -> float:
    """What the disk takes for one small durable write."""
    file = directory / "floor.sync"
    page = bytes(4 * KIB)
    with file.open("wb", buffering=0) as opened:

        def write() -> None:
            os.pwrite(opened.fileno(), page, 0)
            os.fdatasync(opened.fileno())

        spent = _us(plan, write, time.perf_counter)
    file.unlink()
    return spent
