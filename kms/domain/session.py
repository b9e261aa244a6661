"""The phases of one connection to the neighbour, as a table.

Pad bytes move only in UP: both hellos are durable at both ends by then (each welcome leaves after
the commit of what it says).
"""

from enum import Enum

from kms.domain.errors import PeerFault


class Phase(Enum):
    DOWN = "down"
    GREETING = "greeting"
    """own hello sent"""
    SETTLING = "settling"
    """the neighbour's hello is durable; the first grant is being opened"""
    WELCOMED = "welcomed"
    """as settling, and the neighbour's welcome came"""
    WAITING = "waiting"
    """own welcome sent"""
    UP = "up"


class Step(Enum):
    CONNECT = "connect"
    HELLO_IN = "hello in"
    WELCOME_OUT = "welcome out"
    WELCOME_IN = "welcome in"
    LOSE = "lose"


_P, _S = Phase, Step

STEPS: dict[Phase, dict[Step, Phase]] = {
    _P.DOWN: {_S.CONNECT: _P.GREETING, _S.LOSE: _P.DOWN},
    _P.GREETING: {_S.HELLO_IN: _P.SETTLING, _S.CONNECT: _P.GREETING, _S.LOSE: _P.DOWN},
    _P.SETTLING: {
        _S.WELCOME_OUT: _P.WAITING,
        _S.WELCOME_IN: _P.WELCOMED,
        _S.CONNECT: _P.GREETING,
        _S.LOSE: _P.DOWN,
    },
    _P.WELCOMED: {_S.WELCOME_OUT: _P.UP, _S.CONNECT: _P.GREETING, _S.LOSE: _P.DOWN},
    _P.WAITING: {_S.WELCOME_IN: _P.UP, _S.CONNECT: _P.GREETING, _S.LOSE: _P.DOWN},
    _P.UP: {_S.CONNECT: _P.GREETING, _S.LOSE: _P.DOWN},
}


def after(phase: Phase, step: Step) -> Phase:
    """The phase that follows, or ``PeerFault`` where the table has none."""
    try:
        return STEPS[phase][step]
    except KeyError:
        raise PeerFault(
            f"{step.value} while {phase.value}",
            hint="the neighbour does not follow the order hello, welcome, frames",
        ) from None
