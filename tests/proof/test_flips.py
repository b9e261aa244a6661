"""The part that alters frames: it passes, and it finds what was broken on purpose (I4, I9)."""

from collections.abc import Callable

import pytest

from kms.domain import frame
from kms.domain.frame import HEADER_BYTES
from kms.domain.link import Link
from kms.domain.otp import Buffer, one_time_tag
from tests.proof import flips
from tests.proof.flips import run

Patch = pytest.MonkeyPatch
AMOUNT = 3_000


def quiet(line: str) -> None:
    pass


@pytest.mark.slow
def test_no_altered_frame_is_taken_and_every_frame_as_sent_is() -> None:
    report = run(AMOUNT, 1, quiet)

    assert [] == report.failures(AMOUNT)
    assert report.made["frames as sent"] > 3
    assert report.made["whole nodes compared"] == 1


@pytest.mark.slow
def test_a_kind_of_alteration_that_is_not_tried_fails_the_run(monkeypatch: Patch) -> None:
    monkeypatch.setattr(flips, "SPLICED", flips.CUT)
    found = run(AMOUNT, 1, quiet).failures(AMOUNT)

    assert found == ["fault spliced fired 0 times of at least 30: it was not tried"]


@pytest.mark.slow
def test_a_seed_means_the_same_run_every_time() -> None:
    one, other = run(500, 3, quiet), run(500, 3, quiet)

    assert (one.made, one.faults) == (other.made, other.faults)


def only_half_a_tag(patch: Patch) -> None:
    def matches(key: Buffer, tag: Buffer, *parts: Buffer) -> bool:
        return one_time_tag(key, *parts)[:8] == bytes(tag)[:8]

    patch.setattr(frame, "tag_matches", matches)


def any_tag(patch: Patch) -> None:
    patch.setattr(frame, "tag_matches", lambda *_: True)


def a_tag_of_the_start_only(patch: Patch) -> None:
    """Both ends leave out what lies behind the first 4 bytes of the secret part."""

    def tag(key: Buffer, *parts: Buffer) -> bytes:
        return one_time_tag(key, b"".join(map(bytes, parts))[: len(parts[0]) + HEADER_BYTES + 4])

    patch.setattr(frame, "one_time_tag", tag)
    patch.setattr(frame, "tag_matches", lambda key, seen, *parts: tag(key, *parts) == bytes(seen))


def a_forged_frame_costs_pad(patch: Patch) -> None:
    unsealed = Link._unsealed

    def spends(link: Link, header: frame.Header, *rest: object) -> object:
        messages = unsealed(link, header, *rest)  # type: ignore[arg-type]
        if not messages:
            link.memory.reader.spend(header.offset + 1, 1)
        return messages

    patch.setattr(Link, "_unsealed", spends)


BUGS: dict[Callable[[Patch], None], str] = {
    only_half_a_tag: "I4",
    any_tag: "I4",
    a_tag_of_the_start_only: "I4",
    a_forged_frame_costs_pad: "I9",
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    report = run(AMOUNT, 1, quiet)

    assert report.violations
    assert all(line.startswith(("I4", "I9")) for line in report.violations)
    assert any(line.startswith(BUGS[bug]) for line in report.violations)
    assert "--seed 1" in report.violations[0]
