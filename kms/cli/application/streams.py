"""``kms app open`` and ``close``: key streams of ETSI GS QKD 004."""

import sys
from typing import Annotated
from uuid import UUID

import attrs
from cyclopts import Parameter

from kms.cli.application.place import NOWHERE, At, Place, at
from kms.cli.application.told import Patience, telling
from kms.cli.output import JSON, report
from kms.client import QoS, SyncClient
from kms.domain.errors import LocalFault
from kms.domain.limits import CHUNK_BYTES_DEFAULT
from kms.domain.names import ksid as stream_id

KSIDText = Annotated[str | None, Parameter(name="--ksid", help="Key_stream_ID of the stream")]


def open(
    *,
    place: Place = NOWHERE,
    ksid: KSIDText = None,
    chunk: Annotated[int, Parameter(help="bytes of each key")] = CHUNK_BYTES_DEFAULT,
    min_bps: Annotated[int, Parameter(help="bit/s that the stream needs; 0: none")] = 0,
    max_bps: Annotated[
        int, Parameter(help="bit/s that it takes at most; 0: the node's choice")
    ] = 0,
    jitter: Annotated[
        int, Parameter(help="bit/s that the rate may differ by; 0: the node's choice")
    ] = 0,
    priority: Annotated[int, Parameter(help="0: the node's choice")] = 0,
    timeout: Annotated[int, Parameter(help="ms that a request may wait; 0: the node's choice")] = 0,
    ttl: Annotated[int, Parameter(help="seconds without use; 0: the node's choice")] = 0,
    metadata: Annotated[bool, Parameter(negative="", help="age and hops with each key")] = False,
    json: JSON = False,
) -> None:
    """Open a key stream; its KSID is on stdout. With --ksid, join that one."""
    where = streaming(at(place, wants="004"))
    name = parsed(ksid) if ksid is not None else None
    for option, value in (
        ("--chunk", chunk),
        ("--min-bps", min_bps),
        ("--max-bps", max_bps),
        ("--jitter", jitter),
        ("--priority", priority),
        ("--timeout", timeout),
        ("--ttl", ttl),
    ):
        if not 0 <= value < 2**32:
            raise LocalFault(f"{option} {value} cannot be asked for", hint="give 0 to 2**32 - 1")
    qos = QoS(
        key_chunk_size=chunk,
        max_bps=max_bps,
        min_bps=min_bps,
        jitter=jitter,
        priority=priority,
        timeout=timeout,
        ttl=ttl,
        metadata_mimetype="application/json" if metadata else "",
    )
    other = where.other
    with telling(), client(where) as asked:
        stream = Patience(where.wait_s)(
            lambda: asked.open(source=where.source, destination=other, qos=qos, ksid=name)
        )
    fields = {
        "ksid": str(stream.ksid),
        "peer_connected": stream.peer_connected,
        "qos": attrs.asdict(stream.qos),
    }
    report(fields, str(stream.ksid), as_json=json)
    if not stream.peer_connected and not json:
        note = f"{other} joins with: kms app open --ksid {stream.ksid}"
        print(note, file=sys.stderr)


def close(*, place: Place = NOWHERE, ksid: KSIDText = None, json: JSON = False) -> None:
    """Close our end of a key stream; the other end may still read what was made for it."""
    where = streaming(at(place, wants="004"))
    if ksid is None:
        raise LocalFault("no stream is named", hint="give --ksid, as kms app open told it")
    name = parsed(ksid)
    with telling(), client(where) as asked:
        asked.stream(name).close()
    report({"ksid": str(name), "closed": True}, f"{name} is closed here", as_json=json)


def client(where: At) -> SyncClient:
    """Of this application at its node. Raises ``LocalFault``."""
    try:
        return SyncClient(where.url, where.credentials, node=where.node)
    except ValueError as error:
        raise wrong_url(error) from None


def wrong_url(error: ValueError) -> LocalFault:
    return LocalFault(str(error), hint="give --url https://HOST:PORT or tls://HOST:PORT")


def streaming(where: At) -> At:
    """Raises ``LocalFault`` where there are keys with IDs only."""
    if where.interface == "014":
        raise LocalFault(
            "interface 014 has no streams to open or close",
            hint="give --interface 004, or get keys at once: kms app get",
        )
    return where


def parsed(ksid: str) -> UUID:
    """Raises ``BadName``."""
    return stream_id(ksid)
