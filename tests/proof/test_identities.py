"""What the identity cases must find."""

import ssl
from collections.abc import Callable, Iterator

import pytest

from kms.adapters import tls
from kms.adapters.edge import PEER_DER
from kms.adapters.etsi004_http import app, hot
from kms.adapters.etsi004_tls import answering as frames
from kms.adapters.etsi014_http import desk
from kms.adapters.identity import sae_of
from kms.domain.deckeys import Claiming
from kms.domain.events import Asked
from kms.domain.getkey import Reading
from kms.domain.keyids import grouped
from kms.domain.keyrequests import DecKeys
from kms.domain.policy import Rule
from kms.domain.stream import Stream
from tests.proof import entitled, identities

CASES = 250

pytestmark = pytest.mark.slow


def test_nobody_gets_a_key_that_is_not_his() -> None:
    report = identities.run(CASES, 20261122, lambda _: None)

    assert report.failures(CASES) == []
    assert report.made["keys delivered"] > 10
    assert report.made["answers on the fast way"] > 10


def _everybody_reads(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reading, "_reads", lambda self, stream, event: True)


def _nobody_is_revoked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(app, "caller_of", lambda state, *_: sae_of(state[PEER_DER]))


def _nobody_is_revoked_in_frames(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(frames, "caller_with", lambda der, *_: sae_of(der))


def _nobody_is_revoked_for_keys_with_ids(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(desk, "caller_of", lambda state, *_: sae_of(state[PEER_DER]))


def _nobody_is_revoked_on_the_fast_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hot, "caller_of", lambda state, *_: sae_of(state[PEER_DER]))


def _a_key_id_is_enough(patch: pytest.MonkeyPatch) -> None:
    """Planted: who knows the ID of a key at the slave's node has the key."""

    def anybodys(
        self: Claiming, event: Asked, request: DecKeys
    ) -> Iterator[tuple[Stream | None, bytes]]:
        for prefix, ids in grouped(request.key_ids):
            ksid = self._register.pairs.named(prefix)
            yield self._register.streams.get(ksid) if ksid else None, ids

    patch.setattr(Claiming, "_entitled", anybodys)


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
        (_nobody_is_revoked, f"{entitled.SLOW_004}: get_key"),
        (_nobody_is_revoked_on_the_fast_way, f"{entitled.FAST_004}: get_key"),
        (_nobody_is_revoked_in_frames, f"{entitled.FRAMES_004}: get_key"),
        (_nobody_is_revoked_for_keys_with_ids, f"{entitled.FAST_014}: enc_keys"),
        (_a_key_id_is_enough, "not forbidden"),
        (_everybody_may_share, "not forbidden"),
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
