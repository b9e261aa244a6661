"""What ``kms app get`` does with keys that it has fetched: into the file, onto the terminal.

Rules: keys are spent when they come, and cannot be had again. So those that came with one answer
are all in the file before the first of them has a line, and whatever ends the command (a node that
has no more, nobody who reads, Ctrl-C) ends it between two answers: what came before stays. Who
presses Ctrl-C twice is not made to wait for a terminal.
"""

import base64
import hashlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import BinaryIO, Final, Literal

import attrs
import msgspec

from kms.cli.application.told import failed
from kms.client import ClientError
from kms.domain.errors import LocalFault
from kms.domain.secret import zero

Reveal = Literal["hex", "base64"]
Ending = ClientError | LocalFault | KeyboardInterrupt
# Of a shorter key a fingerprint would tell too much.
_FINGERPRINTED_BYTES: Final = 16
_ENDS: Final = (signal.SIGINT, signal.SIGTERM)


@attrs.define(eq=False, repr=False)
class Fetched:
    """A key and what it is found by."""

    name: dict[str, object]
    """its index, or its key ID"""
    bits: bytearray


def show(
    fetched: Iterator[list[Fetched]], file: BinaryIO | None, reveal: Reveal | None, *, as_json: bool
) -> Ending | None:
    """Every key is shown as was asked, and wiped; what ended it after the first, if anything.
    ``fetched``: what came with one answer each time."""
    listed: list[dict[str, object]] = []
    shown = 0
    ends: Ending | None = None
    try:
        for keys in fetched:
            with _undisturbed():
                fields = _kept(keys, file, reveal)
                shown += len(fields)
                if as_json:
                    listed += fields
                elif not _told(map(_sentence, fields)):
                    ends = _unread(shown)
            if ends is not None:
                break
    except ClientError as error:
        if not shown:
            raise failed(error) from error
        ends = error
    except KeyboardInterrupt as stopped:
        if not shown:
            raise
        ends = stopped
    return _listed(listed, ends) if as_json else ends


def _listed(listed: list[dict[str, object]], ends: Ending | None) -> Ending | None:
    """All in one object; what ended it."""
    try:
        with _undisturbed():
            told = _told([msgspec.json.encode({"keys": listed}).decode()])
    except KeyboardInterrupt as stopped:
        return ends or stopped
    return ends or (None if told else _unread(len(listed)))


def _kept(
    keys: list[Fetched], file: BinaryIO | None, reveal: Reveal | None
) -> list[dict[str, object]]:
    """They are in the file and wiped; what is told of them."""
    try:
        fields = [_fields(key, reveal) for key in keys]
        if file is not None:
            for key in keys:
                file.write(key.bits)
        return fields
    finally:
        for key in keys:
            zero(key.bits)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The first signal that would end the command waits for the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False
    before = {each: signal.getsignal(each) for each in _ENDS}

    def later(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for each in _ENDS:
        signal.signal(each, later)
    try:
        yield
    finally:
        for each, handler in before.items():
            if handler is not None:
                signal.signal(each, handler)
    if came:
        raise KeyboardInterrupt


def _told(lines: Iterator[str] | list[str]) -> bool:
    """Whether somebody may read them. If not, the interpreter says nothing of it at its end."""
    try:
        for line in lines:
            print(line, flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return False
    return True


def _unread(shown: int) -> LocalFault:
    return LocalFault(
        f"nobody reads the standard output any more, after {shown} keys",
        hint="with --output they are in their file",
    )


def _fields(key: Fetched, reveal: Reveal | None) -> dict[str, object]:
    fields = {**key.name, "bytes": len(key.bits), "fingerprint": fingerprint(key.bits)}
    if reveal == "hex":
        fields["key"] = key.bits.hex()
    elif reveal == "base64":
        fields["key"] = base64.b64encode(key.bits).decode()
    return fields


def _sentence(fields: dict[str, object]) -> str:
    words = [f"{name} {value}" for name, value in fields.items() if value is not None]
    return "  ".join(words)


def fingerprint(bits: bytearray) -> str | None:
    """The same at both ends exactly if the keys are; none of a short key. It tells 64 bits about
    the key to whoever can compute without bound: do not publish it where that counts."""
    if len(bits) < _FINGERPRINTED_BYTES:
        return None
    return hashlib.blake2b(bits, digest_size=8, person=b"kms app get").hexdigest()
