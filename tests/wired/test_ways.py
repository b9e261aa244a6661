"""One story on the fast way of HTTP and on the slow one, at real nodes: nobody can tell, not from
the answers, and not from the audit journals.

What differs by nature is put aside: names drawn at random, by the order in which they are met;
times; how many neighbouring deliveries one line of the journal stands for.
"""

import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from kms.domain.audit import AuditRecord
from kms.domain.keyrequests import DecKeys, EncKeys, PairStatus
from kms.domain.names import SAEId
from kms.domain.requests import Close, GetKey, OpenConnect
from kms.domain.secret import Secret
from kms.ports.northbound import Forbidden, Northbound
from tests.contract.counters import http, keys
from tests.contract.test_northbound import ALICE, BOB, NOBODY, POLICY, QOS, STRANGER
from tests.wired.nodes import Wired, network, wired
from tests.wired.test_northbound import DIRECTORY, Settled

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Names and keys are drawn at random; metadata say the age; a link has this or that much free.
_UNCOMPARED = {
    "key_ids",
    "keys",
    "key",
    "ksid",
    "metadata",
    "metadata_size",
    "stored_keys",
    "stored_keys_max",
}


@attrs.define(kw_only=True)
class Told:
    """What came of a story."""

    answers: list[object]
    journals: list[list[object]]
    """of applications, at each node"""
    hot: int
    """requests answered on the fast way"""


@attrs.frozen(kw_only=True)
class Counters:
    """What applications of both nodes call."""

    here: Any
    there: Any
    keys_here: Any
    keys_there: Any

    def hot(self) -> int:
        return sum(one.hot() for one in attrs.astuple(self, recurse=False))


async def test_the_fast_way_and_the_slow_one_answer_and_audit_the_same() -> None:
    fast, slow = await _told(fast=True), await _told(fast=False)

    assert fast.answers == slow.answers
    assert fast.journals == slow.journals
    # Ten GET_KEY and eight requests about keys with IDs; and nothing.
    assert (18, 0) == (fast.hot, slow.hot)
    events = {line[0] for journal in fast.journals for line in journal}  # type: ignore[index]
    assert {"stream-opened", "key-delivered", "stream-closed", "refused"} <= events


async def _told(*, fast: bool) -> Told:
    async with wired(view=network(POLICY, DIRECTORY)) as nodes, _counters(nodes, fast) as asked:
        answers = await _story(nodes, asked)
        journals = [_of_applications(node.audit) for node in nodes.nodes]
        return Told(answers=answers, journals=journals, hot=asked.hot())


@asynccontextmanager
async def _counters(nodes: Wired, fast: bool) -> AsyncIterator[Counters]:
    alice, bob = nodes.alice.counter, nodes.bob.counter
    async with (
        http(alice, fast=fast) as here,
        http(bob, fast=fast) as there,
        keys(alice, fast=fast) as keys_here,
        keys(bob, fast=fast) as keys_there,
    ):
        yield Counters(here=here, there=there, keys_here=keys_here, keys_there=keys_there)


async def _story(nodes: Wired, asked: Counters) -> list[object]:
    """Streams, keys with IDs, and what is refused of both; the answers."""
    pair = Settled(here=asked.here, there=asked.there, nodes=nodes)
    answers: list[object] = []

    async def hears(answer: Awaitable[Any]) -> Any:
        try:
            reply = await answer
        except Forbidden as error:
            answers.append(("forbidden", error.reason))
            return None
        answers.append(_compared(reply))
        return reply

    ksid = await pair.open()
    for index in range(3):
        await hears(asked.here.get_key(ALICE, GetKey(ksid=ksid, index=index)))
        await hears(asked.there.get_key(BOB, GetKey(ksid=ksid)))
    await hears(asked.here.get_key(ALICE, GetKey(ksid=ksid, index=0)))
    await hears(asked.here.get_key(ALICE, GetKey(ksid=ksid, index=9, metadata_size=1)))
    await hears(asked.here.get_key(STRANGER, GetKey(ksid=ksid, index=3)))
    await _refused_openings(asked.here, hears)

    made = await hears(asked.keys_here.enc_keys(ALICE, EncKeys(slave=BOB, number=3, key_bytes=32)))
    fetched = DecKeys(master=ALICE, key_ids=made.key_ids)
    for _ in range(2):
        await hears(asked.keys_there.dec_keys(BOB, fetched))
    await hears(asked.keys_here.enc_keys(ALICE, EncKeys(slave=BOB, number=9999, key_bytes=32)))
    await hears(asked.keys_here.enc_keys(ALICE, EncKeys(slave=ALICE, number=1, key_bytes=32)))
    await hears(asked.keys_here.enc_keys(NOBODY, EncKeys(slave=BOB, number=1, key_bytes=32)))
    await hears(asked.keys_here.pair_status(ALICE, PairStatus(slave=BOB)))
    await hears(asked.keys_here.pair_status(NOBODY, PairStatus(slave=BOB)))

    for counter, caller in ((asked.here, ALICE), (asked.there, BOB)):
        await hears(counter.close(caller, Close(ksid=ksid)))
        await pair.heard()
    await hears(asked.here.get_key(ALICE, GetKey(ksid=ksid)))
    return answers


async def _refused_openings(here: Northbound, hears: Any) -> None:
    for caller, source, qos in (
        (NOBODY, NOBODY, QOS),
        (STRANGER, ALICE, QOS),
        (ALICE, ALICE, attrs.evolve(QOS, ttl=2**32 - 1)),
    ):
        order = OpenConnect(source=SAEId(source), destination=BOB, qos=qos)
        await hears(here.open_connect(caller, order))


def _compared(reply: Any) -> object:
    """What of an answer is the same each time, and how much key is in it."""
    fields = attrs.asdict(reply, recurse=False, value_serializer=None)
    size = [len(each) for each in fields.values() if isinstance(each, Secret)]
    kept = {name: value for name, value in fields.items() if name not in _UNCOMPARED}
    return type(reply).__name__, kept, size


def _of_applications(audit: list[AuditRecord]) -> list[object]:
    """The lines about applications, in order."""
    names: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        return names.setdefault(found[0], f"name {len(names)}")

    lines: list[object] = []
    for entry in [record.entry for record in audit if record.entry.actor.startswith("sae:")]:
        each = (entry.event, entry.actor, _UUID.sub(named, entry.subject))
        detail = dict(entry.detail)
        if entry.event == "key-delivered":
            first, count = detail.pop("index"), detail.pop("count")
            assert isinstance(first, int)
            assert isinstance(count, int)
            lines += [(*each, {**detail, "index": index}) for index in range(first, first + count)]
        else:
            lines.append((*each, detail))
    return lines
