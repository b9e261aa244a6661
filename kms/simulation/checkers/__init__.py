"""The checkers, one or two for an invariant: each believes no node, and says what is broken."""

from kms.simulation.checker import Checker
from kms.simulation.checkers.i01_pad_once import PadOnce
from kms.simulation.checkers.i02_same_key import SameKey
from kms.simulation.checkers.i03_named_only import NamedOnly
from kms.simulation.checkers.i04_sealed_wire import SealedWire
from kms.simulation.checkers.i05_entrusted import Entrusted
from kms.simulation.checkers.i05_kept import Kept
from kms.simulation.checkers.i06_destroyed import Destroyed
from kms.simulation.checkers.i07_agreed import Agreed
from kms.simulation.checkers.i08_bounded import Bounded
from kms.simulation.checkers.i09_ignored import Ignored
from kms.simulation.checkers.i10_unhurt import Unhurt
from kms.simulation.checkers.i11_audited import Audited
from kms.simulation.checkers.i12_goes_on import GoesOn
from kms.simulation.checkers.i13_quarantined import Quarantined
from kms.simulation.checkers.i13_revoked import Revoked

ALL: tuple[type[Checker], ...] = (
    PadOnce,
    SameKey,
    NamedOnly,
    SealedWire,
    Kept,
    Entrusted,
    Destroyed,
    Agreed,
    Bounded,
    Ignored,
    Unhurt,
    Audited,
    GoesOn,
    Quarantined,
    Revoked,
)

__all__ = ["ALL"]
