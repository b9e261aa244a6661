"""The life of a key, after NIST SP 800-57 Part 1 section 7, as one table.

Rule 1: a transition that the table does not list is refused and changes nothing.
Rule 2: every transition is recorded with time and reason by whoever makes it.

SP 800-57 suspends keys in use, and so the table says (active). Of a key that an application has,
this node holds no bits for long: what it can hold back is a key that nobody has yet. So there is
one way more, suspended before its delivery and released to wait for it again; a key that came
that way never becomes active but by its delivery.
"""

from enum import Enum

from kms.domain.errors import LocalFault


class KeyState(Enum):
    """The six states of SP 800-57 (Rev 5, section 7)."""

    PRE_ACTIVATION = "pre-activation"
    """stored, or waiting at both ends to be delivered"""
    ACTIVE = "active"
    """delivered to the first application"""
    SUSPENDED = "suspended"
    """held while an incident is looked into"""
    DEACTIVATED = "deactivated"
    """its period is over; the value is about to be erased"""
    COMPROMISED = "compromised"
    """an alarm or an operator's word"""
    DESTROYED = "destroyed"
    """unreadable; terminal"""


class KeyEvent(Enum):
    """What moves a key from one state to the next."""

    DELIVER = "deliver"
    SUSPEND = "suspend"
    RESUME = "resume"
    RELEASE = "release"
    """what was suspended before its delivery waits for it again"""
    DEACTIVATE = "deactivate"
    COMPROMISE = "compromise"
    DESTROY = "destroy"


_S, _E = KeyState, KeyEvent

TRANSITIONS: dict[KeyState, dict[KeyEvent, KeyState]] = {
    _S.PRE_ACTIVATION: {
        _E.DELIVER: _S.ACTIVE,
        _E.SUSPEND: _S.SUSPENDED,
        _E.COMPROMISE: _S.COMPROMISED,
        _E.DESTROY: _S.DESTROYED,
    },
    _S.ACTIVE: {
        _E.SUSPEND: _S.SUSPENDED,
        _E.DEACTIVATE: _S.DEACTIVATED,
        _E.COMPROMISE: _S.COMPROMISED,
        _E.DESTROY: _S.DESTROYED,
    },
    _S.SUSPENDED: {
        _E.RESUME: _S.ACTIVE,
        _E.RELEASE: _S.PRE_ACTIVATION,
        _E.DEACTIVATE: _S.DEACTIVATED,
        _E.COMPROMISE: _S.COMPROMISED,
        _E.DESTROY: _S.DESTROYED,
    },
    _S.DEACTIVATED: {
        _E.COMPROMISE: _S.COMPROMISED,
        _E.DESTROY: _S.DESTROYED,
    },
    _S.COMPROMISED: {
        _E.DESTROY: _S.DESTROYED,
    },
    _S.DESTROYED: {},
}


def after(state: KeyState, event: KeyEvent) -> KeyState:
    """The state that ``event`` leads to, or ``LocalFault`` when the table does not list it."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise LocalFault(
            f"a key that is {state.value} cannot {event.value}",
            hint="see docs/lifecycle.md for the transitions of SP 800-57",
        ) from None
