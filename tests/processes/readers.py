"""Two applications that read without pause and write down what they got.

``reads`` asks by index, so that both ends speak of the same keys whatever was lost on the way.
"""

import hashlib
from collections import defaultdict

import attrs
import trio

from kms.client import AnswerLost, ClientError, NotEnoughKey, Stream
from tests.processes.network import PATIENCE_S


@attrs.define
class Ledger:
    """What one application got: digests by index. An index that comes twice fails at once."""

    keys: dict[int, bytes] = attrs.field(factory=dict, repr=lambda keys: f"{len(keys)} keys")
    lost: int = 0
    errors: dict[str, int] = attrs.Factory(lambda: defaultdict(int))

    def write(self, index: int, bits: bytes) -> None:
        assert index not in self.keys, f"index {index} was delivered twice"
        self.keys[index] = hashlib.sha256(bits).digest()

    def failed(self, error: ClientError) -> None:
        self.errors[f"{type(error).__name__} {error.message[:40]}"] += 1


async def reads(stream: Stream, ledger: Ledger) -> None:
    """One application: index after index, again after an error, past what was lost."""
    index = 0
    while True:
        try:
            with await stream.get(index) as key:
                assert index == key.index
                ledger.write(index, bytes(key))
        except NotEnoughKey as error:
            ledger.failed(error)
            # The answer was lost on its way to us, or its node died after it had recorded it.
            if "delivered already" in error.message or "is destroyed" in error.message:
                ledger.lost += 1
                index += 1
            else:
                await trio.sleep(0.1)
        except (AnswerLost, ClientError) as error:
            ledger.failed(error)
            await trio.sleep(0.1)
        else:
            index += 1
            await trio.sleep(0.005)


def equal(here: Ledger, there: Ledger) -> set[int]:
    """The indices that both have. No two keys of one index, and no key under two."""
    shared = here.keys.keys() & there.keys.keys()
    assert {i: here.keys[i] for i in shared} == {i: there.keys[i] for i in shared}
    assert len(shared) == len({here.keys[i] for i in shared}), "one key under two indices"
    return shared


async def progress(here: Ledger, there: Ledger, pairs: int) -> None:
    """Returns when both have so many more keys in common; fails if that takes too long (I12)."""
    begun = max((*here.keys, *there.keys), default=-1)
    with trio.fail_after(PATIENCE_S):
        while sum(index > begun for index in equal(here, there)) < pairs:
            await trio.sleep(0.1)
