"""``kms key`` at real nodes: held back, resumed and given up at both ends, and in both journals."""

import json
from pathlib import Path

from kms.domain.status import Status
from tests.processes.http import GET, post
from tests.processes.network import ALICE, BOB, RealNetwork, refusal
from tests.processes.test_statuses import _get, _join, _open

WHY = ("--reason", "a laptop was lost", "--operator", "olga")


def _key(network: RealNetwork, name: str, *words: str) -> dict[str, object]:
    config = network.node(name).config
    done = network.cli("key", words[0], config, *words[1:], *WHY, "--json")
    assert done.returncode == 0, done.stderr
    fields: dict[str, object] = json.loads(done.stdout)
    return fields


def _both(network: RealNetwork, ksid: str, index: int) -> list[object]:
    return [_get(network, name, ksid, index=index)["status"] for name in (ALICE, BOB)]


def _journal(network: RealNetwork, name: str) -> Path:
    return network.node(name).directory / "state" / "audit.jsonl"


async def test_an_operator_suspends_resumes_and_compromises_at_both_ends(
    network: RealNetwork,
) -> None:
    ksid = _open(network)
    assert _join(network, ksid) == Status.SUCCESS
    assert [Status.SUCCESS] * 2 == _both(network, ksid, 0)
    held = _key(network, ALICE, "suspend", "--stream", ksid, "--indices", "1-2")

    assert (held["changed"], held["waiting"], held["told"]) == (True, 2, True)
    assert [Status.INSUFFICIENT_KEY] * 2 == _both(network, ksid, 1)
    for name in (ALICE, BOB):
        # The status is a picture that is taken now and then.
        await network.until_in_time(
            f"shown by {name}",
            lambda name=name: network.stream(name, ksid).ordered == "suspended 1-2",
        )
    _key(network, BOB, "resume", "--stream", ksid)
    assert [Status.SUCCESS] * 2 == _both(network, ksid, 1)
    lost = _key(network, BOB, "compromise", "--stream", ksid, "--indices", "2")
    assert (lost["changed"], lost["told"]) == (True, True)
    words = [_get(network, name, ksid, index=2)["message"] for name in (ALICE, BOB)]
    assert ["index 2 is compromised by an operator"] * 2 == words

    config = network.node(ALICE).config
    for wrong in (
        ["--indices", "2", "--stream", ksid],
        ["--link", "zoe"],
        ["--key-id", ksid[::-1]],
    ):
        assert refusal(network.cli("key", "suspend", config, *wrong, *WHY))
    network.kill(BOB)
    given = _key(network, ALICE, "compromise", "--stream", ksid)
    assert (given["changed"], given["told"]) == (True, False)
    network.start(BOB)
    await network.until_in_time("ready again", network.ready)
    await network.until_in_time(
        "told after the restart",
        lambda: "compromised" in str(post(network, BOB, GET, {"Key_stream_ID": ksid}).members),
    )
    for name in (ALICE, BOB):
        orders = [
            json.loads(line)[2]
            for line in _journal(network, name).read_text().splitlines()
            if '"keys-ordered"' in line
        ]
        acts = [each["detail"]["act"] for each in orders]

        assert ["suspend", "resume", "compromise", "compromise"] == acts[:4]
        assert {("operator", "olga", "a laptop was lost")} == {
            (each["actor"], each["detail"]["operator"], each["detail"]["reason"]) for each in orders
        }
