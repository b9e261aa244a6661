"""The first pad bytes of a link: a secret carried to both sites by hand.

Both ends read the same ``SECRET_BYTES``: the hash key of the epoch, then the pad written by the
leader, then the pad written by the follower. They become the first two entries of a new append log,
so everything above treats them as any agreed block. Offsets begin at 0 again: a pad address is
(secret, direction, offset), and the secret's id is in every frame's MAC.
"""

import hashlib
from uuid import UUID

from kms.domain import appendlog, limits
from kms.domain.agreedlog import AgreedLog
from kms.domain.appendlog import LogEntry
from kms.domain.direction import Direction
from kms.domain.effects import StoreMaterial, WipeMaterial
from kms.domain.events import SecretCarried
from kms.domain.linkmemory import LinkMemory
from kms.domain.names import BlockId, MaterialId
from kms.domain.outbox import Outbox
from kms.domain.records import BlockRecord, BlockState, LinkState
from kms.domain.secret import Secret


def begin_secret(memory: LinkMemory, log: AgreedLog, event: SecretCarried, out: Outbox) -> Secret:
    """The link's new hash key; in the batch's writes the link begins anew under the secret, and
    whatever was left of the old pads is destroyed.

    The caller has checked that the secret has its length and was not used before.
    """
    assert len(event.bits) == limits.SECRET_BYTES, "read_link_secret checks the length"
    assert event.secret_id not in memory.secrets, "I1 a secret is used once"
    log.clear("another link secret begins", out)
    if memory.hash_key is not None:
        out.add(WipeMaterial(material=memory.hash_key, offset=0, length=limits.HASH_KEY_BYTES))
    memory.secrets = (*memory.secrets, event.secret_id)[-limits.SECRETS_PER_LINK_MAX :]
    # At the top it stays: the secret's id is in every MAC, so no frame of an older epoch fits.
    memory.epoch = min(memory.epoch + 1, limits.EPOCH_MAX)
    memory.state, memory.alarm, memory.reason = LinkState.OPEN, "", ""
    memory.log_count, memory.log_hash = 0, appendlog.begin(event.secret_id)
    memory.renew_pads()
    key = event.bits.part(0, limits.HASH_KEY_BYTES)
    memory.hash_key = MaterialId(f"secret/{memory.link}/{event.secret_id}/hash-key")
    out.add(
        StoreMaterial(
            material=memory.hash_key,
            bits=event.bits.part(0, limits.HASH_KEY_BYTES),
            unit_bytes=limits.HASH_KEY_BYTES,
        )
    )
    for number, direction in enumerate((Direction.FROM_LEADER, Direction.TO_LEADER)):
        start = limits.HASH_KEY_BYTES + number * limits.SECRET_PAD_BYTES
        record = _record(memory, event, direction, out)
        out.add(
            StoreMaterial(
                material=record.material,
                bits=event.bits.part(start, limits.SECRET_PAD_BYTES),
                unit_bytes=limits.unit_bytes(limits.SECRET_PAD_BYTES),
            )
        )
        entry = LogEntry(
            seq=number,
            block_id=record.block_id,
            direction=direction,
            start=0,
            length=limits.SECRET_PAD_BYTES,
        )
        log.append(entry, record, out)
    log.settle(memory.log_count)
    event.bits.wipe()
    out.audit(
        "link-secret-imported",
        actor="operator",
        subject=memory.link,
        secret_id=event.secret_id,
        epoch=memory.epoch,
    )
    return key


def _record(
    memory: LinkMemory, event: SecretCarried, direction: Direction, out: Outbox
) -> BlockRecord:
    name = f"{event.secret_id} {direction.value}"
    return BlockRecord(
        link=memory.link,
        block_id=BlockId(UUID(bytes=hashlib.sha256(name.encode()).digest()[:16])),
        state=BlockState.HELD,
        length=limits.SECRET_PAD_BYTES,
        material=MaterialId(f"secret/{memory.link}/{event.secret_id}/{direction.value}"),
        device=None,
        origin="secret",
        qber=None,
        received_ms=out.now.wall_ms,
    )
