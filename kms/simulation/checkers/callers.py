"""Who asked for whole keys with IDs: an answer says only which request it is to."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from kms.domain.keyrequests import DecKeys, EncKeys
from kms.domain.names import SAEId
from kms.domain.requests import Request
from kms.simulation.listener import Book

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

# Many more than are under way at a time: an answer may leave when its caller has hung up.
_REMEMBERED = 4096


class Callers(Book):
    """The newest requests, by number."""

    def __init__(self, simulation: "Simulation") -> None:
        self._asked: OrderedDict[int, tuple[SAEId, EncKeys | DecKeys]] = OrderedDict()

    def asked(self, site: "Site", number: int, caller: SAEId, request: Request) -> None:
        if isinstance(request, EncKeys | DecKeys):
            self._asked[number] = (caller, request)
            if len(self._asked) > _REMEMBERED:
                self._asked.popitem(last=False)

    def who(self, number: int) -> tuple[SAEId, EncKeys | DecKeys]:
        """The caller, and what it asked."""
        return self._asked[number]
