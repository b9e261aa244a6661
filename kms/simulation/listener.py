"""Who is told what happens in a simulation, and of which of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self
from weakref import WeakKeyDictionary

from kms.domain.effects import Effect
from kms.domain.events import Event, PeerFrame
from kms.domain.names import LinkId, SAEId
from kms.domain.requests import Request

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Outcome, Site


class Listener:
    """Override what you need; what is not overridden costs nothing."""

    writes: ClassVar[tuple[type, ...]] = ()
    """what ``wrote`` is told of: classes of effects, and of records that are saved"""
    outputs: ClassVar[tuple[type, ...]] = ()
    """what ``output`` is told of"""

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        """The node handled these events; nothing of it is durable or has left yet."""

    def durable(self, site: "Site", effects: Sequence[Effect]) -> None:
        """The batch's writes are on the disk; its audit entries too, unless the disk failed."""

    def wrote(self, site: "Site", effect: Effect) -> None:
        """One of the batch's writes, after ``durable``; only of the kinds in ``writes``."""

    def output(self, site: "Site", effect: Effect) -> None:
        """This output is about to leave; only of the kinds in ``outputs``."""

    def sent(self, site: "Site", link: LinkId, data: bytes) -> None:
        """A frame is on the wire, where anybody can read it."""

    def arrives(self, site: "Site", frame: PeerFrame) -> None:
        """A frame reaches a node, and nobody touched it on the way."""

    def altered(self, site: "Site", frame: PeerFrame) -> None:
        """The node gets this frame, which somebody changed, repeated or moved, next and alone; all
        that was due without it is done."""

    def asked(self, site: "Site", number: int, caller: SAEId, request: Request) -> None:
        """An application asks."""

    def answered(self, site: "Site", number: int, outcome: "Outcome | None") -> None:
        """The request's one answer; None: the connection broke, or the caller hung up."""

    def stopped(self, site: "Site", why: str) -> None:
        """The process ended: killed, powered off, or by itself."""

    def restored(self, site: "Site") -> None:
        """The site's disk was replaced by an older copy, with or without what opens it."""

    def started(self, site: "Site") -> None:
        """A process begins on the site's disk."""

    def storm(self) -> None:
        """Faults begin again."""

    def healed(self) -> None:
        """Every fault has ended: what was hurt may recover from now on."""

    def calm(self) -> None:
        """Long enough after ``healed``: what must be true of a healthy network is true now."""


HOOKS = (
    *("batch", "durable", "sent", "arrives", "altered", "asked", "answered"),
    *("stopped", "restored", "started", "storm", "healed", "calm"),
)


class Book(Listener):
    """What several checkers of a simulation go by: there is one, and it is told before they are."""

    # A book must not keep the simulation, or neither would ever go.
    _books: ClassVar[WeakKeyDictionary["Simulation", dict[type, "Book"]]] = WeakKeyDictionary()

    def __init__(self, simulation: "Simulation") -> None:
        """Made by ``of``."""

    @classmethod
    def of(cls, simulation: "Simulation") -> Self:
        """The one of this simulation."""
        books = Book._books.setdefault(simulation, {})
        if cls not in books:
            books[cls] = cls(simulation)
        book = books[cls]
        assert isinstance(book, cls)
        return book
