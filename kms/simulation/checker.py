"""Who looks on: what a checker is told, and how it says that an invariant is broken.

Rules: a checker sees everything and asks no node what it believes. It raises ``Violation`` at the
moment of the breach, and counts in ``checks`` each comparison that could have failed. It changes
nothing: with or without checkers a seed is the same history.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from kms.domain.effects import Effect, Save
from kms.domain.events import Event
from kms.simulation.listener import HOOKS, Book, Listener
from kms.simulation.measured import Measured

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site


class Violation(AssertionError):
    """An invariant is broken. The text begins with its name."""


class Checker(Listener):
    """Says when its invariant is broken."""

    invariant: ClassVar[str] = ""
    """``"I1"``"""

    def __init__(self, simulation: "Simulation", *books: Book) -> None:
        self.simulation = simulation
        self.books = books
        """what it goes by"""
        self.checks = 0
        self.measured = Measured()

    def holds(self, condition: object, sentence: str, *values: object) -> None:
        """One check. Raises ``Violation`` when it does not hold.

        The values are put in the places ``{}`` of the sentence: most sentences are never said, and
        writing one out costs more than the check.
        """
        self.checks += 1
        if not condition:
            said = sentence.format(*values) if values else sentence
            raise Violation(f"{self.invariant} {said}")


class Watch:
    """All checkers of a simulation: ``told[hook]`` are those that listen to it."""

    def __init__(self, checkers: Sequence[Checker]) -> None:
        self.checkers = checkers
        books = dict.fromkeys(book for each in checkers for book in each.books)
        listeners: list[Listener] = [*books, *checkers]
        self.told = {
            hook: [
                getattr(each, hook)
                for each in listeners
                if getattr(type(each), hook) is not getattr(Listener, hook)
            ]
            for hook in HOOKS
        }
        self._batch = self.told["batch"]
        self._wrote: dict[type, list[Callable[[Site, Effect], None]]] = {}
        self._output: dict[type, list[Callable[[Site, Effect], None]]] = {}
        for each in listeners:
            for kind in each.writes:
                self._wrote.setdefault(kind, []).append(each.wrote)
            for kind in each.outputs:
                self._output.setdefault(kind, []).append(each.output)

    def tell(self, hook: str, *what: object) -> None:
        for each in self.told[hook]:
            each(*what)

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        """``batch``, which is told more often than all the others."""
        for each in self._batch:
            each(site, events, effects)

    def durable(self, site: "Site", effects: Sequence[Effect]) -> None:
        """``durable``, then ``wrote`` for each write that somebody wants to know of."""
        for each in self.told["durable"]:
            each(site, effects)
        wanted = self._wrote
        if not wanted:
            return
        for effect in effects:
            kind = type(effect.record) if type(effect) is Save else type(effect)
            if kind in wanted:
                for wrote in wanted[kind]:
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

    @property
    def measured(self) -> Measured:
        """What all of them measured."""
        found = Measured()
        for each in self.checkers:
            found.add(each.measured)
        return found
