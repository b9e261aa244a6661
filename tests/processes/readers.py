"""Applications that read without pause and write down what they got, and what they were told.

``reads`` asks by index, so that both ends speak of the same keys whatever was lost on the way.

What may be lost (docs/streams.md). A key whose answer never came back was perhaps delivered to
nobody: the node then says "delivered already", once, to the one who had asked. Chunks that the
restarted receiving end did not hold are lost at both ends: nobody got them. Everything else that
one application got, the other gets too. ``violations`` holds the ledgers of both ends against
that.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

import attrs
import trio

from kms.client import AnswerLost, ClientError, NotEnoughKey, Stream
from tests.processes.network import PATIENCE_S

_DELIVERED = ("delivered already", "is destroyed: delivered")
_LOST = "is destroyed"
# Pad that was used twice shows where the same bytes begin one key and lie in another.
_HEAD_BYTES = 16


@attrs.define
class Ledger:
    """What one application got: keys by index, and the node's words where it got none."""

    keys: dict[int, bytes] = attrs.field(factory=dict, repr=lambda keys: f"{len(keys)} keys")
    gone: dict[int, str] = attrs.field(factory=dict, repr=lambda gone: f"{len(gone)} gone")
    unanswered: set[int] = attrs.field(factory=set, repr=lambda these: f"{len(these)} unanswered")
    """asked for, and no answer came back, at least once"""
    errors: dict[str, int] = attrs.Factory(lambda: defaultdict(int))
    again: list[int] = attrs.Factory(list)
    """indices that were delivered more than once"""

    @property
    def lost(self) -> int:
        return len(self.gone)

    def write(self, index: int, bits: bytes) -> None:
        if index in self.keys:
            self.again.append(index)
        self.keys[index] = bits

    def failed(self, error: ClientError) -> None:
        self.errors[f"{type(error).__name__} {error.message[:40]}"] += 1


async def reads(stream: Stream, ledger: Ledger, pause_s: float = 0.005) -> None:
    """One application: index after index, again after an error, past what was lost."""
    index = 0
    while True:
        try:
            with await stream.get(index) as key:
                assert index == key.index
                ledger.write(index, bytes(key))
        except NotEnoughKey as error:
            ledger.failed(error)
            if any(words in error.message for words in (*_DELIVERED, _LOST)):
                ledger.gone[index] = error.message
                index += 1
            else:
                await trio.sleep(0.1)
        except AnswerLost as error:
            ledger.failed(error)
            ledger.unanswered.add(index)
            await trio.sleep(0.1)
        except ClientError as error:
            ledger.failed(error)
            await trio.sleep(0.1)
        else:
            index += 1
            await trio.sleep(pause_s)


def violations(what: str, here: Ledger, there: Ledger) -> list[str]:
    """What the two ends' ledgers show that must not be."""
    found = [
        f"I2 {what}: index {index} was delivered twice"
        for ledger in (here, there)
        for index in ledger.again
    ]
    found += [
        f"I2 {what}: index {index} is another key at the other end"
        for index in sorted(here.keys.keys() & there.keys.keys())
        if here.keys[index] != there.keys[index]
    ]
    for one, other in ((here, there), (there, here)):
        for index, words in one.gone.items():
            if any(each in words for each in _DELIVERED):
                if index not in one.unanswered:
                    found.append(f"I5 {what}: {words!r}, and every answer had come: who got it?")
            elif index in other.keys:
                found.append(f"I5 {what}: {words!r}, and the other application got it")
    return found


def reused(streams: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Keys of which the first bytes lie in another key too, at any place: pad used twice (I1).

    Two ranges of pad that overlap by 16 bytes show so: the one that begins later begins inside
    the other.
    """
    heads: dict[bytes, str] = {}
    found = []
    for name, keys in streams.items():
        for number, key in enumerate(keys):
            where = f"{name} {number}"
            if heads.setdefault(key[:_HEAD_BYTES], where) != where:
                found.append(f"I1 {where} begins as {heads[key[:_HEAD_BYTES]]}")
    for name, keys in streams.items():
        for number, key in enumerate(keys):
            for at in range(1, len(key) - _HEAD_BYTES + 1):
                if (other := heads.get(key[at : at + _HEAD_BYTES])) is not None:
                    found.append(f"I1 {other} begins inside {name} {number}, at byte {at}")
    return found


def equal(here: Ledger, there: Ledger) -> set[int]:
    """The indices that both have. No two keys of one index, and no key under two."""
    assert violations("stream", here, there) == []
    shared = here.keys.keys() & there.keys.keys()
    digests = {hashlib.sha256(here.keys[index]).digest() for index in shared}
    assert len(shared) == len(digests), "I1 one key under two indices"
    return shared


async def progress(here: Ledger, there: Ledger, pairs: int) -> None:
    """Returns when both have so many more keys in common; fails if that takes too long (I12)."""
    begun = max((*here.keys, *there.keys), default=-1)
    with trio.fail_after(PATIENCE_S):
        while sum(i > begun for i in here.keys.keys() & there.keys.keys()) < pairs:
            await trio.sleep(0.1)
    equal(here, there)
