"""What happened, as one hash: two runs of a seed are the same history, or the hash says so."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kms.domain.effects import Effect, SendFrame
from kms.domain.events import Event

if TYPE_CHECKING:
    from kms.simulation.site import Site


class Trace:
    """Every batch of every site goes into the hash: when, what came in, what went out."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        said = f"{site.loop.now_us} {site.place}"
        for each in (*events, *effects):
            said += f" {type(each).__name__}"
        self._hash.update(said.encode())
        for effect in effects:
            if type(effect) is SendFrame:
                self._hash.update(effect.data)

    def note(self, text: str) -> None:
        """Something beside the nodes happened: a fault, an application's wish."""
        self._hash.update(text.encode())

    def digest(self) -> str:
        """Hexadecimal, so far."""
        return self._hash.hexdigest()
