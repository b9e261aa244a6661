"""``kms key``: which keys are meant is read with care, and what came of it is said."""

import json
from getpass import getuser
from pathlib import Path
from uuid import UUID

import pytest
import trio

from kms.adapters.operations.admin_client import AdminClient
from kms.config import load
from kms.domain.errors import LocalFault
from kms.domain.names import KSID
from kms.domain.orders import Act, KeyOrder
from tests.cli.fake_node import FakeNode
from tests.cli.test_cli import command, file, node

__all__ = ["file", "node"]

STREAM = "6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c"
WHY = ("--reason", "a laptop was lost")


def order(act: Act, **fields: object) -> KeyOrder:
    said: dict[str, object] = {
        "act": act,
        "operator": "olga",
        "reason": "a laptop was lost",
        **fields,
    }
    return KeyOrder(**said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["--stream", STREAM], {"ksid": KSID(UUID(STREAM))}),
        (["--stream", STREAM, "--indices", "5"], {"ksid": UUID(STREAM), "first": 5, "count": 1}),
        (["--stream", STREAM, "--indices", "5-9"], {"ksid": UUID(STREAM), "first": 5, "count": 5}),
        (["--link", "B"], {"link": "A~B"}),
        (["--link", "A~B"], {"link": "A~B"}),
        (["--key-id", STREAM], {"key_id": UUID(STREAM)}),
    ],
)
@pytest.mark.parametrize("act", list(Act))
async def test_what_is_meant_reaches_the_node(
    node: FakeNode, file: Path, act: Act, words: list[str], fields: dict[str, object]
) -> None:
    status = await command("key", act.value, file, *words, *WHY, "--operator", "olga")

    assert (0, [order(act, **fields)]) == (status, node.told)


async def test_the_user_is_the_operator_unless_another_is_named(node: FakeNode, file: Path) -> None:
    await command("key", "suspend", file, "--link", "B", *WHY)
    (said,) = node.told

    assert isinstance(said, KeyOrder)
    assert getuser() == said.operator


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["suspend", "--stream", STREAM, "--indices", "5-9"],
            f"stream {STREAM}, 5 to 9: suspended: 3 undelivered keys here; "
            "2 were delivered here before; the neighbour knows",
        ),
        (
            ["resume", "--stream", STREAM, "--indices", "5"],
            f"stream {STREAM}, index 5: resumed: 3 undelivered keys here; the neighbour knows",
        ),
        (
            ["compromise", "--link", "B"],
            "link A~B: compromised: 3 undelivered keys here; 2 were delivered here before; "
            "the neighbour is told when it is there",
        ),
        (
            ["suspend", "--key-id", STREAM],
            f"key {STREAM} for several slaves: suspended: 3 undelivered keys here; "
            "2 were delivered here before; all nodes know",
        ),
        (
            ["compromise", "--key-id", STREAM],
            f"key {STREAM} for several slaves: compromised: 3 undelivered keys here; "
            "2 were delivered here before; the other nodes are told when they are there",
        ),
    ],
)
async def test_what_came_of_it_is_said_in_words(
    node: FakeNode, file: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == await command("key", words[0], file, *words[1:], *WHY)
    assert said == capsys.readouterr().out.strip()


async def test_what_came_of_it_as_json(
    node: FakeNode, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await command("key", "compromise", file, "--stream", STREAM, *WHY, "--json")

    assert {
        "link": "A~B",
        "stream": STREAM,
        "key_id": None,
        "first": 0,
        "count": None,
        "changed": True,
        "waiting": 3,
        "delivered": 2,
        "told": False,
    } == json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 1, "one link, one stream or one key ID"),
        (["--stream", STREAM, "--link", "B"], 1, "one link, one stream or one key ID"),
        (["--stream", "no-uuid"], 1, "a UUID version 4"),
        (["--stream", STREAM[:19] + "c" + STREAM[20:], "--indices", "x"], 1, "names no indices"),
        (["--stream", STREAM, "--indices", "9-5"], 1, "a range of indices"),
        (["--stream", STREAM, "--indices", "4294967296"], 1, "an index is at most 4294967295"),
        (["--stream", STREAM, "--indices", "1-99999999999"], 1, "names no indices"),
        (["--link", "B", "--indices", "5"], 1, "indices belong to a stream"),
        (["--link", "A"], 1, "two different nodes"),
        (["--link", "B~C"], 1, "node"),
        (["--key-id", "12"], 1, "the order does not read"),
        (["--link", "B", "--operator", "o" * 65], 1, "the operator must be"),
        (["--nonsense"], 2, "nonsense"),
    ],
)
async def test_a_wrong_order_is_refused_and_never_reaches_the_node(
    node: FakeNode,
    file: Path,
    words: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = await command("key", "suspend", file, *words, *WHY)
    error = capsys.readouterr().err

    assert (code, []) == (status, node.told)
    assert said in error
    assert "hint:" in error


async def test_a_reason_is_asked_for(node: FakeNode, file: Path) -> None:
    assert 2 == await command("key", "suspend", file, "--link", "B")
    assert 1 == await command("key", "suspend", file, "--link", "B", "--reason", "")
    assert [] == node.told


@pytest.mark.parametrize(
    ("target", "body", "said"),
    [
        ("/keys/forgive", b"{}", "no such order"),
        ("/keys/suspend", b"", "does not read"),
        ("/keys/suspend", b"[" * 3000, "does not read"),
        ("/keys/suspend", b'{"operator": "o"}', "does not read"),
        ("/keys/suspend", b'{"operator":"o","reason":"r","link":"A~B","x":1}', "does not read"),
        ("/keys/suspend", b'{"operator":"o","reason":"r","link":"A~B","count":1.5}', "not read"),
    ],
)
async def test_the_socket_refuses_what_is_no_order(
    node: FakeNode, file: Path, target: str, body: bytes, said: str
) -> None:
    counter = AdminClient(load(file).admin_socket)
    with pytest.raises(LocalFault, match=said):
        await trio.to_thread.run_sync(counter.post, target, body)

    assert [] == node.told
