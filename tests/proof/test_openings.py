"""What the hostile openings must find."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kms.adapters.edge import Server
from kms.adapters.edge.door import Door
from kms.adapters.edge.protocol import OneProtocol
from tests.edge.hostile import OPENINGS
from tests.proof import openings

# The listed ones over both transports, and some that are bent.
FEW = 2 * len(OPENINGS) + 60

pytestmark = pytest.mark.slow


def test_openings_end_at_most_their_own_connections() -> None:
    report = openings.run(FEW, 20261122, lambda _: None)

    assert report.failures(FEW) == []


def test_an_exception_that_reaches_the_server_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = OneProtocol.handle

    async def failing(self: OneProtocol, event: Any) -> None:
        if b"Upgrade" in getattr(event, "data", b""):
            raise ZeroDivisionError("planted")
        await handle(self, event)

    monkeypatch.setattr(OneProtocol, "handle", failing)
    found = openings.run(2 * len(OPENINGS), 1, lambda _: None).violations

    assert any("exceptions reached the server" in each for each in found), found
    assert all(each.startswith("I10") and "again: " in each for each in found)


def test_a_bystander_that_is_not_served_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The door counts those who come and nobody who leaves."""

    @contextmanager
    def leaky(self: Door, address: str | None) -> Iterator[None]:
        admitted = admit(self, address)
        admitted.__enter__()
        kept.append(admitted)
        yield

    admit, kept = Door.admit, list[Any]()
    monkeypatch.setattr(Door, "admit", leaky)
    found = openings.run(2 * len(OPENINGS) + 300, 1, lambda _: None).violations

    assert any("a bystander is answered closed" in each for each in found), found[:5]


def test_a_server_that_does_not_stop_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "stop", lambda self: None)
    found = openings.run(1, 1, lambda _: None).violations

    assert any("to stop" in each for each in found), found
