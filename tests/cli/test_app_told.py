"""How long ``kms app`` asks again, and what it makes of each error of the client."""

from collections.abc import Callable

import pytest

from kms import client
from kms.cli.application import told
from kms.cli.application.told import Patience, failed
from kms.cli.faults import Exit
from kms.client import (
    ClientError,
    MetadataTooSmall,
    NotEnoughKey,
    PeerNotConnected,
    QoS,
    QoSNotMet,
    Refused,
    Unavailable,
    Unreachable,
)


class Clock:
    """Time passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(told, "time", made)
    return made


def answers(*outcomes: ClientError | str) -> Callable[[], str]:
    """Answers with these, and with the last again and again."""
    left = list(outcomes)

    def ask() -> str:
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, ClientError):
            raise one
        return one

    return ask


def test_what_comes_with_time_is_waited_for(clock: Clock) -> None:
    ask = answers(NotEnoughKey("none"), PeerNotConnected("nobody"), Unavailable("busy", 3.0), "k")

    assert Patience(15.0)(ask) == "k"

    assert 0.5 + 0.5 + 3.0 == clock.now


def test_patience_ends_before_its_time_is_over(clock: Clock) -> None:
    ask = answers(NotEnoughKey("none"))

    with pytest.raises(NotEnoughKey):
        Patience(2.2)(ask)

    assert 2.0 == clock.now


def test_a_node_that_wants_more_time_than_there_is_is_not_waited_for(clock: Clock) -> None:
    ask = answers(Unavailable("sealed", 3600.0))

    with pytest.raises(Unavailable):
        Patience(15.0)(ask)

    assert 0.0 == clock.now


@pytest.mark.parametrize(
    "error", [Refused("no"), Unreachable("nobody there"), NotEnoughKey("gone")]
)
def test_what_no_time_mends_is_told_at_once(clock: Clock, error: ClientError) -> None:
    ask = answers(error, "never")

    with pytest.raises(type(error)):
        Patience(15.0, awaited=())(ask)

    assert 0.0 == clock.now


def test_every_error_of_the_client_has_a_status_and_a_hint() -> None:
    kinds = [
        each
        for each in vars(client).values()
        if isinstance(each, type) and issubclass(each, ClientError) and each is not ClientError
    ]
    for kind in kinds:
        made = {
            QoSNotMet: lambda: QoSNotMet("", QoS()),
            MetadataTooSmall: lambda: MetadataTooSmall("", 9),
        }.get(kind, lambda kind=kind: kind(""))()
        fault = failed(made)
        assert fault.exit_status in Exit
        assert fault.hint
    assert len(kinds) >= 16
