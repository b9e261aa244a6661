"""Applications at the two nodes, which believe nothing: every answer goes through the ledger."""

from typing import Final

import trio

from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, Outcome
from kms.domain.names import KSID, NodeId, SAEId
from kms.domain.requests import Close, CloseReply, GetKey, KeyReply, OpenConnect, OpenReply
from kms.domain.status import QoS, Status
from tests.wired.nodes import Wired, WiredNode
from tests.world import ALICE, ANN, BEN, BOB

QOS: Final = QoS(key_chunk_size=32, timeout=2_000)
APPLICATION: Final[dict[NodeId, SAEId]] = {ALICE: ANN, BOB: BEN}


async def open_stream(node: WiredNode, ksid: KSID | None = None, qos: QoS = QOS) -> OpenReply:
    """What the node answers its application."""
    caller, peer = APPLICATION[node.name], APPLICATION[node.peer]
    order = OpenConnect(source=caller, destination=peer, qos=qos, ksid=ksid)
    reply = await node.counter.open_connect(caller, order)
    node.ledger.opening(reply, node.disk)
    return reply


async def get(node: WiredNode, ksid: KSID, index: int | None = None) -> KeyReply:
    """What the node answers its application."""
    request = GetKey(ksid=ksid, index=index)
    reply = await node.counter.get_key(APPLICATION[node.name], request)
    node.ledger.key(node.name, ksid, reply, node.disk, node.audit)
    return reply


async def enc(node: WiredNode, number: int = 1, key_bytes: int = 32) -> KeysReply:
    """What the node answers its application, a master."""
    request = EncKeys(slave=APPLICATION[node.peer], number=number, key_bytes=key_bytes)
    reply = await node.counter.enc_keys(APPLICATION[node.name], request)
    node.ledger.keys(node.name, reply, node.disk, node.audit)
    return reply


async def dec(node: WiredNode, key_ids: bytes) -> KeysReply:
    """What the node answers its application, a slave."""
    request = DecKeys(master=APPLICATION[node.peer], key_ids=key_ids)
    reply = await node.counter.dec_keys(APPLICATION[node.name], request)
    node.ledger.keys(node.name, reply, node.disk, node.audit)
    return reply


async def next_keys(nodes: Wired, number: int = 1) -> KeysReply:
    """Both applications go on: so many keys, at both ends, equal."""
    with trio.fail_after(30):
        while True:
            here = await enc(nodes.alice, number)
            if here.outcome is Outcome.DELIVERED:
                there = await dec(nodes.bob, here.key_ids)
                assert here.keys == there.keys, f"I2 {there.message}"
                return here
            await trio.sleep(0.1)


async def close(node: WiredNode, ksid: KSID) -> CloseReply:
    """What the node answers its application."""
    return await node.counter.close(APPLICATION[node.name], Close(ksid=ksid))


async def stream(nodes: Wired, qos: QoS = QOS) -> KSID:
    """An established stream with a stock of keys, at rest."""
    opened = await open_stream(nodes.alice, qos=qos)
    assert opened.ksid is not None, opened.message
    await open_stream(nodes.bob, opened.ksid, qos)
    await trio.sleep(1)
    return opened.ksid


async def next_pair(nodes: Wired, ksid: KSID) -> int:
    """Both applications go on: one index, at both ends, equal."""
    with trio.fail_after(30):
        while True:
            here = await get(nodes.alice, ksid)
            if here.status is Status.SUCCESS:
                there = await get(nodes.bob, ksid, here.index)
                # At one end it may be lost with an answer that did not arrive; then the next.
                if there.status is Status.SUCCESS:
                    return here.index
            await trio.sleep(0.1)
