"""What the identity cases must find."""

import ssl
from collections.abc import Callable

import pytest

from kms.adapters import tls
from kms.adapters.edge import PEER_DER
from kms.adapters.etsi004_http import app
from kms.adapters.identity import sae_of
from kms.domain.getkey import Reading
from kms.domain.policy import Rule
from tests.proof import identities

CASES = 150

pytestmark = pytest.mark.slow


def test_nobody_gets_a_key_that_is_not_his() -> None:
    report = identities.run(CASES, 20261122, lambda _: None)

    assert report.failures(CASES) == []
    assert report.made["keys delivered"] > 10


def _everybody_reads(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reading, "_reads", lambda self, stream, event: True)


def _nobody_is_revoked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(app, "caller_of", lambda state, *_: sae_of(state[PEER_DER]))


def _everybody_may_share(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rule, "matches", lambda self, caller, peer: True)


def _no_certificate_is_needed(patch: pytest.MonkeyPatch) -> None:
    harden = tls._harden

    def soft(context: ssl.SSLContext, *rest: object) -> None:
        harden(context, *rest)  # type: ignore[arg-type]
        context.verify_mode = ssl.CERT_OPTIONAL

    patch.setattr(tls, "_harden", soft)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (_everybody_reads, "a key was answered"),
        (_nobody_is_revoked, "not 403"),
        (_everybody_may_share, "not 403"),
        (_no_certificate_is_needed, "none at"),
    ],
)
def test_a_planted_leak_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], words: str
) -> None:
    plant(monkeypatch)
    found = identities.run(CASES, 1, lambda _: None).violations

    assert any(words in each for each in found), found[:5]
    assert all(each.startswith("I3 ") and "again: " in each for each in found)
