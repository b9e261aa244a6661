"""What the hostile openings must find."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kms.adapters.edge import Server
from kms.adapters.edge.door import Door
from kms.adapters.edge.protocol import OneProtocol
from kms.adapters.etsi004_tls.answering import Answering
from kms.adapters.etsi014_http import HotKeys
from tests.edge import binary
from tests.edge.hostile import KEYS_OPENINGS, OPENINGS
from tests.proof import openings
from tests.proof.fronts import FRONTS, LISTED

# The listed ones, and some that are bent at each listener.
FEW = LISTED + 20 * len(FRONTS)

pytestmark = pytest.mark.slow


def only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The listeners of this name are tried, and no others."""
    monkeypatch.setattr(openings, "FRONTS", [one for one in FRONTS if one.name.startswith(name)])


def test_openings_end_at_most_their_own_connections() -> None:
    report = openings.run(FEW, 20261122, lambda _: None)

    assert report.failures(FEW) == []
    assert report.made["stops"] == 2 * len(FRONTS)
    assert min(report.faults[f"bystanders of {front.name}"] for front in FRONTS) >= 2


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


def test_an_exception_on_the_fast_way_to_keys_with_ids_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = HotKeys.handler

    def failing(self: HotKeys, request: Any) -> Any:
        if b"%ff" in request.target:
            raise ZeroDivisionError("planted")
        return handler(self, request)

    monkeypatch.setattr(HotKeys, "handler", failing)
    only(monkeypatch, "ETSI 014")
    found = openings.run(2 * len(KEYS_OPENINGS), 1, lambda _: None).violations

    assert any("ETSI 014, fast way: 1 exceptions reached" in each for each in found), found
    assert not any("slow way" in each for each in found)


def test_a_request_in_frames_that_is_not_answered_as_listed_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def failing(self: Answering, der: bytes, request: Any) -> Any:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(Answering, "answer", failing)
    only(monkeypatch, "ETSI 004, binary")
    found = openings.run(len(binary.OPENINGS), 1, lambda _: None).violations

    assert any("binary: garbage_after_a_request: answered" in each for each in found), found
    assert any("binary: a bystander is not served" in each for each in found)
    assert all(each.startswith("I10 ETSI 004, binary") for each in found)


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
    found = openings.run(2 * len(OPENINGS), 1, lambda _: None).violations

    assert any("a bystander is not served" in each for each in found), found[:5]


def test_a_server_that_does_not_stop_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "stop", lambda self: None)
    found = openings.run(1, 1, lambda _: None).violations

    assert any("to stop" in each for each in found), found
