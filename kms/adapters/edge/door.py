"""Who may come in: caps on connections, counted by address and by identity (I8, I10)."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from kms.adapters.edge.bounds import Bounds

Key = TypeVar("Key")


class Full(Exception):
    """A cap is reached; the connection is closed at once."""


class Door:
    """Counts who is inside."""

    def __init__(self, bounds: Bounds, *, connections_max: int) -> None:
        """``connections_max``: the bound, after the process's own limit was looked at."""
        self._bounds = bounds
        self._connections_max = connections_max
        self._inside = 0
        self._by_address: Counter[str] = Counter()
        self._by_identity: Counter[bytes] = Counter()

    @property
    def inside(self) -> int:
        return self._inside

    @contextmanager
    def admit(self, address: str | None) -> Iterator[None]:
        """Inside while the block runs. Raises ``Full``. None is a local client, uncounted."""
        if self._inside >= self._connections_max:
            raise Full("all connections are taken")
        self._inside += 1
        try:
            with _one_of(
                self._by_address, address, self._bounds.connections_per_address_max, "address"
            ):
                yield
        finally:
            self._inside -= 1

    @contextmanager
    def identify(self, identity: bytes | None) -> Iterator[None]:
        """Counted under this identity while the block runs. Raises ``Full``."""
        with _one_of(
            self._by_identity, identity, self._bounds.connections_per_identity_max, "certificate"
        ):
            yield


@contextmanager
def _one_of(counts: Counter[Key], key: Key | None, most: int, what: str) -> Iterator[None]:
    """One more under ``key`` while the block runs; no entry stays behind."""
    if key is None:
        yield
        return
    if counts[key] >= most:
        raise Full(f"too many connections from one {what}")
    counts[key] += 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
