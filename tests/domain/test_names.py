"""An identity is parsed once, or refused with what would have been right."""

from collections.abc import Callable
from uuid import UUID

import pytest

from kms.domain.errors import BadName
from kms.domain.names import (
    NodeId,
    bare_sae_id,
    block_id,
    ksid,
    leader_of,
    link_id,
    node_id,
    sae_id,
    secret_id,
)

KSID_TEXT = "11111111-1111-4111-8111-111111111111"
KSID_HEX = KSID_TEXT.replace("-", "")
BLOCK_TEXT = "11111111-1111-1111-8111-111111111111"


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (node_id, "a", "a"),
        (node_id, "Site-1_" + "x" * 25, "Site-1_" + "x" * 25),
        (sae_id, "sae:app.site", "sae:app.site"),
        (sae_id, "sae:" + "x" * 60, "sae:" + "x" * 60),
        (sae_id, "consumer-1", "consumer-1"),
        (sae_id, "x" * 64, "x" * 64),
        (ksid, KSID_TEXT, UUID(KSID_TEXT)),
        (ksid, KSID_HEX, UUID(KSID_TEXT)),
        (block_id, BLOCK_TEXT, UUID(BLOCK_TEXT)),
        (secret_id, "0123456789abcdef" * 2, "0123456789abcdef" * 2),
    ],
)
def test_what_parses_is_the_identity(
    parse: Callable[[object], object], text: str, expected: object
) -> None:
    assert expected == parse(text)


@pytest.mark.parametrize(
    ("parse", "text", "kind"),
    [
        (node_id, "", "node"),
        (node_id, "-a", "node"),
        (node_id, "x" * 33, "node"),
        (node_id, "a~b", "node"),
        (node_id, 5, "node"),
        (sae_id, "sae:" + "x" * 61, "application"),
        (sae_id, "x" * 65, "application"),
        (sae_id, "", "application"),
        (sae_id, "-x", "application"),
        (sae_id, "Sae:app", "application"),
        (sae_id, "a/b", "application"),
        (sae_id, "a\0", "application"),
        (sae_id, "a\n", "application"),
        (bare_sae_id, "sae:app.site", "application"),
        (sae_id, "sae:a b", "application"),
        (sae_id, None, "application"),
        (ksid, BLOCK_TEXT, "Key_stream_ID"),
        (ksid, "1" * 37, "Key_stream_ID"),
        (ksid, "{" + KSID_TEXT + "}", "Key_stream_ID"),
        (ksid, "{" + KSID_HEX + "}", "Key_stream_ID"),
        (ksid, "-" + KSID_HEX, "Key_stream_ID"),
        (ksid, KSID_HEX[:2] + "-" + KSID_HEX[2:], "Key_stream_ID"),
        (ksid, "1_1" + KSID_HEX[3:], "Key_stream_ID"),
        (ksid, "+" + KSID_HEX[1:], "Key_stream_ID"),
        (ksid, "\u0661" + KSID_HEX[1:], "Key_stream_ID"),
        (ksid, KSID_HEX + "\n", "Key_stream_ID"),
        (ksid, 5, "Key_stream_ID"),
        (block_id, "x", "block"),
        (block_id, "urn:uuid:" + BLOCK_TEXT, "block"),
        (block_id, b"x", "block"),
        (secret_id, "0" * 31, "link secret"),
        (secret_id, "A" * 32, "link secret"),
        (secret_id, 0, "link secret"),
    ],
)
def test_what_does_not_parse_is_refused_by_kind_with_what_is_wanted(
    parse: Callable[[object], object], text: object, kind: str
) -> None:
    with pytest.raises(BadName) as refused:
        parse(text)

    assert refused.value.reason.endswith(f"is not a {kind}")
    assert refused.value.hint.startswith("give ")


def test_a_text_without_end_is_shown_cut() -> None:
    with pytest.raises(BadName) as refused:
        node_id("x" * 10_000)

    assert refused.value.reason == "'" + "x" * 76 + "... is not a node"


def test_a_link_has_one_name_and_one_leader_whichever_end_asks() -> None:
    one, other = NodeId("alice"), NodeId("bob")

    assert link_id(one, other) == link_id(other, one) == "alice~bob"
    assert leader_of(link_id(other, one)) == one


def test_a_node_has_no_link_to_itself() -> None:
    with pytest.raises(BadName, match="'alice' is not a link"):
        link_id(NodeId("alice"), NodeId("alice"))
