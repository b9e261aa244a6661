"""``kms`` with one mistake built in: what a part of the proof must find, or it proves nothing.

    python -m tests.processes.planted MISTAKE run NODE.toml

Mistakes are patches of single functions, made here and nowhere in the program.
"""

import sys
from collections.abc import Callable

import attrs

from kms.cli import main
from kms.domain.events import Asked
from kms.domain.getkey import Reading
from kms.domain.keyruns import KeyRuns
from kms.domain.lifecycle import KeyState
from kms.domain.limits import MIB
from kms.domain.outbox import Outbox
from kms.domain.requests import GetKey
from kms.domain.secret import Secret
from kms.domain.stream import Stream
from kms.domain.supply import Supply


def different() -> None:
    """The first bit of each designation is turned round at bob's end (I2)."""
    store = Supply.store

    def wrong(self: Supply, stream: Stream, count: int, bits: Secret, out: Outbox) -> None:
        if self._register.node == "bob":
            bits = Secret(bytes([bits.expose()[0] ^ 1]) + bytes(bits.expose()[1:]))
        store(self, stream, count, bits, out)

    Supply.store = wrong  # type: ignore[method-assign]


def forgets() -> None:
    """A delivery is recorded as a key that waits: after a restart it is made again (I2, I5)."""
    save_to = KeyRuns.save_to

    def lying(self: KeyRuns, out: Outbox) -> None:
        for first, run in self._changed.items():
            if run is not None and run.state is KeyState.ACTIVE:
                until_ms = run.expires_ms or run.created_ms + 3_600_000
                waits = attrs.evolve(run, state=KeyState.PRE_ACTIVATION, expires_ms=until_ms)
                self._changed[first] = waits
        save_to(self, out)

    KeyRuns.save_to = lying  # type: ignore[method-assign]


def leaks() -> None:
    """Each request leaves a megabyte behind (I8)."""
    asked = Reading.asked
    kept = []

    def fat(self: Reading, event: Asked, request: GetKey, out: Outbox) -> None:
        kept.append(bytearray(b"\1" * MIB))
        asked(self, event, request, out)

    Reading.asked = fat  # type: ignore[method-assign]


MISTAKES: dict[str, Callable[[], None]] = {
    made.__name__: made for made in (different, forgets, leaks)
}


if __name__ == "__main__":
    MISTAKES[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
