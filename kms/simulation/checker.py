"""Who looks on: what a checker is told, and how it says that an invariant is broken.

Rules: a checker sees everything and asks no node what it believes. It raises ``Violation`` at the
moment of the breach, and counts in ``checks`` each comparison that could have failed. It changes
nothing: with or without checkers a seed is the same history.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from kms.domain.effects import Effect, Save
from kms.domain.events import Event, PeerFrame
from kms.domain.names import LinkId, SAEId
from kms.domain.requests import Request

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Outcome, Site


class Violation(AssertionError):
    """An invariant is broken. The text begins with its name."""


class Checker:
    """Override what you need; what is not overridden costs nothing."""

    invariant: ClassVar[str] = ""
    """``"I1"``"""
    writes: ClassVar[tuple[type, ...]] = ()
    """what ``wrote`` is told of: classes of effects, and of records that are saved"""
    outputs: ClassVar[tuple[type, ...]] = ()
    """what ``output`` is told of"""

    def __init__(self, simulation: "Simulation") -> None:
        self.simulation = simulation
        self.checks = 0

    def holds(self, condition: object, sentence: str) -> None:
        """One check. Raises ``Violation`` when it does not hold."""
        self.checks += 1
        if not condition:
            raise Violation(f"{self.invariant} {sentence}")

    # ---- what is told -----------------------------------------------------------------------

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

    def arrives(self, site: "Site", frame: PeerFrame, *, altered: bool) -> None:
        """A frame reaches a node. ``altered``: somebody changed, repeated or moved it."""

    def altered(self, site: "Site", frame: PeerFrame) -> None:
        """The node gets this altered frame next, alone; all that was due without it is done."""

    def asked(self, site: "Site", number: int, caller: SAEId, request: Request) -> None:
        """An application asks."""

    def answered(self, site: "Site", number: int, outcome: "Outcome | None") -> None:
        """The request's one answer; None: the connection broke, or the caller hung up."""

    def stopped(self, site: "Site", why: str) -> None:
        """The process ended: killed, powered off, or by itself."""

    def restored(self, site: "Site", *, slots: bool) -> None:
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


class Watch:
    """All checkers of a simulation: ``told[hook]`` are those that listen to it."""

    def __init__(self, checkers: Sequence[Checker]) -> None:
        self.checkers = checkers
        self.told = {
            hook: [
                getattr(each, hook)
                for each in checkers
                if getattr(type(each), hook) is not getattr(Checker, hook)
            ]
            for hook in HOOKS
        }
        self._wrote: dict[type, list[Callable[[Site, Effect], None]]] = {}
        self._output: dict[type, list[Callable[[Site, Effect], None]]] = {}
        for each in checkers:
            for kind in each.writes:
                self._wrote.setdefault(kind, []).append(each.wrote)
            for kind in each.outputs:
                self._output.setdefault(kind, []).append(each.output)

    def tell(self, hook: str, *what: object, **how: object) -> None:
        for each in self.told[hook]:
            each(*what, **how)

    def durable(self, site: "Site", effects: Sequence[Effect]) -> None:
        """``durable``, then ``wrote`` for each write that somebody wants to know of."""
        for each in self.told["durable"]:
            each(site, effects)
        if not self._wrote:
            return
        for effect in effects:
            kind: type = type(effect)
            if kind is Save:
                kind = type(cast(Save, effect).record)
            for wrote in self._wrote.get(kind, ()):
                wrote(site, effect)

    def output(self, site: "Site", effect: Effect) -> None:
        """An output is about to leave."""
        for each in self._output.get(type(effect), ()):
            each(site, effect)

    @property
    def checks(self) -> dict[str, int]:
        """Checks made, by invariant."""
        made: dict[str, int] = {}
        for each in self.checkers:
            made[each.invariant] = made.get(each.invariant, 0) + each.checks
        return made
