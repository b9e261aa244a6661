"""One checker per invariant: each believes no node, and says at once when its sentence is broken."""

from kms.simulation.checker import Checker

ALL: tuple[type[Checker], ...] = ()

__all__ = ["ALL"]
