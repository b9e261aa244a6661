"""``kms app encrypt`` and ``decrypt``: a file under keys of the node.

Rules: nothing is at the output's place before all of it is right. All that can be wrong on this
side is found before a key is spent, because each key can be had once at each end.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final

from cyclopts import Parameter

from kms.cli.application.keys import keys_client
from kms.cli.application.output_file import new_file
from kms.cli.application.place import NOWHERE, At, Place, at
from kms.cli.application.streams import KSIDText, client, parsed
from kms.cli.application.told import Patience, telling
from kms.cli.output import JSON, report
from kms.client.errors import printable
from kms.client.files import (
    Cipher,
    Header,
    IdentifiedKeys,
    KeySource,
    StreamKeys,
    read_header,
    seal,
    unseal,
)
from kms.client.files.sealing import Progress, check_length
from kms.domain import limits
from kms.domain.errors import LocalFault

SUFFIX: Final = ".kms"
# Shorter files are done before a person has read the bar.
_SHOWN_BYTES: Final = 4 * limits.MIB

Force = Annotated[bool, Parameter(negative="", help="replace the output if it is there")]


def encrypt(
    file: Annotated[Path, Parameter(name="FILE", help="what to encrypt")],
    /,
    *,
    place: Place = NOWHERE,
    ksid: KSIDText = None,
    output: Annotated[Path | None, Parameter(help="instead of FILE.kms")] = None,
    one_time_pad: Annotated[
        bool, Parameter(negative="", help="a byte of key for each byte of the file")
    ] = False,
    force: Force = False,
    json: JSON = False,
) -> None:
    """Encrypt a file for the other application: with --ksid under the stream's next key, else
    under a fresh key with an ID."""
    where = at(place, wants="004" if ksid is not None else "014")
    target = output or file.with_name(file.name + SUFFIX)
    cipher = Cipher.ONE_TIME_PAD if one_time_pad else Cipher.SEALED
    other = where.other
    if where.interface != "014" and ksid is None:
        raise LocalFault(
            "no stream is named", hint="give --ksid KSID, or --interface 014 for keys with IDs"
        )
    with _read(file) as plain, new_file(target, force=force) as out:
        size = _size(plain)
        with (
            telling(about=str(file)),
            _drawing(where, ksid) as keys,
            _progress(f"Encrypting {file.name}", size) as progress,
        ):
            header = seal(
                plain,
                out,
                keys,
                cipher=cipher,
                source=where.source,
                destination=other,
                progress=progress,
            )
    report(_fields(header, target), f"{target}: {size} bytes for {other}", as_json=json)


def decrypt(
    file: Annotated[Path, Parameter(name="FILE", help="what kms app encrypt made")],
    /,
    *,
    place: Place = NOWHERE,
    output: Annotated[Path | None, Parameter(help="instead of FILE without .kms")] = None,
    force: Force = False,
    json: JSON = False,
) -> None:
    """Decrypt a file of the other application, if it is whole and genuine. Its key can be had once:
    a file can be decrypted once."""
    target = output
    if target is None:
        if file.suffix != SUFFIX:
            raise LocalFault(f"{file} does not end in {SUFFIX}", hint="give --output FILE")
        target = file.with_suffix("")
    with _read(file) as hidden:
        size = _size(hidden)
        with telling(about=str(file)):
            header, head = read_header(hidden)
            check_length(header, head, size)
        where = _meant_for_us(file, header, place)
        with new_file(target, force=force, size=header.size_bytes) as out:
            hidden.seek(0)
            with (
                telling(about=str(file)),
                _fetching(where, header) as keys,
                _progress(f"Decrypting {file.name}", header.size_bytes) as progress,
            ):
                unseal(hidden, out, keys, progress=progress)
    sentence = f"{target}: {header.size_bytes} bytes from {_plain(header.source)}, genuine"
    report(_fields(header, target), sentence, as_json=json)


def _meant_for_us(file: Path, header: Header, place: Place) -> At:
    """Where its key is asked for. Raises ``LocalFault`` for a file of others."""
    streams = header.key_stream_id is not None
    where = at(place, wants="004" if streams else "014")
    if streams is (where.interface == "014"):
        needed = "004, or 004-tls" if streams else "014"
        raise LocalFault(
            f"{file} is under a key of interface {needed}, not {where.interface}",
            hint=f"give the node's address of interface {needed}",
        )
    if header.destination != where.source:
        raise LocalFault(
            f"{file} is for {_plain(header.destination)}, and we are {where.source}",
            hint="ask as the application that it is for; its maker cannot decrypt it either",
        )
    if place.peer is not None and header.source != place.peer:
        raise LocalFault(
            f"{file} says that it is from {_plain(header.source)}, not {place.peer}",
            hint="leave --peer out if that is right",
        )
    return where


@contextmanager
def _drawing(where: At, ksid: str | None) -> Iterator[KeySource]:
    """Keys to encrypt with."""
    patience, other = Patience(where.wait_s), where.other
    if ksid is None:
        with keys_client(where) as asked:
            yield IdentifiedKeys(asked, other, patience)
        return
    name = parsed(ksid)
    with client(where) as streams:
        stream = patience(lambda: streams.join(name, source=where.source, destination=other))
        yield StreamKeys(stream, patience)


@contextmanager
def _fetching(where: At, header: Header) -> Iterator[KeySource]:
    """Keys to decrypt with. A stream is not opened for a stranger's file: if the file is genuine,
    we have it open."""
    # A key that is not there now was read before: waiting does not bring it back.
    patience = Patience(where.wait_s, awaited=())
    if header.key_stream_id is None:
        with keys_client(where) as asked:
            yield IdentifiedKeys(asked, header.source, patience)
        return
    with client(where) as streams:
        yield StreamKeys(streams.stream(header.key_stream_id), patience)


@contextmanager
def _read(path: Path) -> Iterator[BinaryIO]:
    hint = "give the path of a readable file"
    # Opening a pipe would wait for its writer.
    if not path.is_file():
        raise LocalFault(f"{path} is no file, or there is none", hint=hint)
    try:
        file = path.open("rb")
    except OSError as error:
        raise LocalFault(f"{path}: {error.strerror}", hint=hint) from None
    with file:
        yield file


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


@contextmanager
def _progress(what: str, size: int) -> Iterator[Progress]:
    """A bar on stderr for a long file, if a person looks."""
    if size < _SHOWN_BYTES or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=size)
        yield lambda done: bar.advance(task, done)


def _fields(header: Header, target: Path) -> dict[str, object]:
    return {
        "file": str(target),
        "cipher": header.cipher.value,
        "source": header.source,
        "destination": header.destination,
        "bytes": header.size_bytes,
        "ksid": header.key_stream_id,
        "index": header.index,
        "key_id": header.key_id,
    }


def _plain(name: str) -> str:
    return printable(name, 80)
