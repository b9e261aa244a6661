"""What the machine does with nothing of ours in the way."""

import os
import socket
import sqlite3
import ssl
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from kms.adapters.tls import Checks, Credentials, CurrentTLS
from kms.bench.figures import mbit_s
from kms.domain.limits import KIB

_PART_BYTES = 64 * KIB


def memory_mbit_s(size_bytes: int) -> float:
    """Copying this much, a megabyte at a time."""
    source = os.urandom(min(size_bytes, KIB * KIB))
    began, done = time.perf_counter(), 0
    while done < size_bytes:
        bytearray(source)
        done += len(source)
    return mbit_s(done, time.perf_counter() - began)


def commit_mbit_s(directory: Path, block_bytes: int, seconds: float) -> float:
    """Rows of one block each, every commit on the disk before the next (synchronous=FULL)."""
    file = directory / "floor.db"
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS block (bits BLOB)")
        bits = os.urandom(block_bytes)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            connection.execute("INSERT INTO block VALUES (?)", (bits,))
            done += len(bits)
        return mbit_s(done, time.perf_counter() - began)
    finally:
        connection.close()
        for each in directory.glob("floor.db*"):
            each.unlink()


# ---- a TLS socket ---------------------------------------------------------------------------


def swallow(connection: Connection, credentials: Credentials) -> None:
    """A process: reads each connection's bytes, and answers one when an end of them came."""
    tls = CurrentTLS(credentials, checks=Checks.URI).server_context()

    async def one(transport: trio.SocketStream) -> None:
        stream = trio.SSLStream(transport, tls, server_side=True)
        size = int.from_bytes(await stream.receive_some(8), "big")
        while size > 0:
            size -= len(await stream.receive_some(_PART_BYTES))
        await stream.send_all(b"1")

    async def run() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        connection.send(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(one, listeners)

    trio.run(run)


async def socket_mbit_s(port: int, credentials: Credentials, size_bytes: int) -> float:
    """Bytes through one TLS connection to ``swallow``, 64 KiB at a time."""
    tls = CurrentTLS(credentials, checks=Checks.URI).client_context()
    stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", port), tls)
    part = os.urandom(_PART_BYTES)
    count = size_bytes // len(part)
    try:
        await stream.do_handshake()
        await stream.send_all((count * len(part)).to_bytes(8, "big"))
        began = time.perf_counter()
        for _ in range(count):
            await stream.send_all(part)
        await stream.receive_some(1)
        return mbit_s(count * len(part), time.perf_counter() - began)
    finally:
        await trio.aclose_forcefully(stream)


# ---- a bare HTTP server ---------------------------------------------------------------------


def answer_bare(connection: Connection, credentials: Credentials) -> None:
    """A process: hypercorn with mutual TLS that answers every GET_KEY with as many bytes as the
    request's path says, from memory, knowing nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile, config.keyfile = str(credentials.certificate), str(credentials.key)
    config.ca_certs, config.verify_mode = str(credentials.ca), ssl.VerifyMode.CERT_REQUIRED
    config.alpn_protocols = ["http/1.1"]
    config.loglevel = "CRITICAL"
    body = os.urandom(KIB * KIB)

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            # What hypercorn takes for an application without hooks of its own.
            raise NotImplementedError(scope["type"])
        while (await receive()).get("more_body"):
            pass
        size = int(scope["path"].split("/")[1])
        start: Any = {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/octet-stream"),
                (b"content-length", str(size).encode()),
                (b"kms-status", b"0"),
                (b"kms-index", b"0"),
            ],
        }
        await send(start)
        await send({"type": "http.response.body", "body": body[:size], "more_body": False})

    async def run() -> None:
        connection.send(port)
        await serve(app, config, shutdown_trigger=trio.sleep_forever)

    trio.run(run)
