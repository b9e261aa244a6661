"""What the stories of keys with IDs are played with, on top of ``streams_play``."""

from kms.domain.effects import Refuse
from kms.domain.keyrequests import (
    DecKeys,
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.names import KSID, NodeId, SAEId
from kms.domain.records import StreamRecord
from tests.domain.streams_play import ANN, BEN, A, B, Pair

FOUND_NOT = "one or more keys specified are not found on KME"


def enc(
    pair: Pair,
    number: int = 1,
    key_bytes: int = 32,
    *,
    node: NodeId = A,
    master: SAEId = ANN,
    slave: SAEId = BEN,
    additional: tuple[SAEId, ...] = (),
    fresh: KSID | None = None,
) -> int:
    """The number of the request."""
    request = EncKeys(slave=slave, number=number, key_bytes=key_bytes, additional_slaves=additional)
    return pair.ask(node, master, request, fresh)


def dec(
    pair: Pair,
    key_ids: bytes,
    *,
    node: NodeId = B,
    slave: SAEId = BEN,
    master: SAEId = ANN,
) -> KeysReply:
    """The answer, which comes at once."""
    number = pair.ask(node, slave, DecKeys(master=master, key_ids=key_ids))
    reply = pair.ends[node].answers[number]
    assert isinstance(reply, KeysReply)
    return reply


def status(pair: Pair, *, node: NodeId = A, master: SAEId = ANN, slave: SAEId = BEN) -> object:
    number = pair.ask(node, master, PairStatus(slave=slave))
    reply = pair.ends[node].answers[number]
    assert isinstance(reply, PairStatusReply | Refuse)
    return reply


def reply(pair: Pair, number: int, node: NodeId = A) -> KeysReply | Refuse | None:
    """None while it waits."""
    found = pair.ends[node].answers.get(number)
    assert found is None or isinstance(found, KeysReply | Refuse)
    return found


def got(pair: Pair, number: int = 1, key_bytes: int = 32, **how: NodeId | SAEId) -> KeysReply:
    """Keys that a master gets, once everything under way has arrived."""
    asked = enc(pair, number, key_bytes, **how)  # type: ignore[arg-type]
    pair.settle()
    found = reply(pair, asked, how.get("node", A))  # type: ignore[arg-type]
    assert isinstance(found, KeysReply)
    assert found.outcome is Outcome.DELIVERED, found.message
    return found


def ids_of(found: KeysReply) -> list[bytes]:
    return [found.key_ids[at : at + 16] for at in range(0, len(found.key_ids), 16)]


def paired(pair: Pair, node: NodeId = A) -> list[StreamRecord]:
    """Pair streams of this end's disk, tombstones left out."""
    records = pair.ends[node].disk.records.values()
    return [
        each
        for each in records
        if isinstance(each, StreamRecord) and each.paired and each.closed_ms is None
    ]
