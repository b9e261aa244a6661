"""Everything the core can ask: its whole output.

Order is meaning. The shell makes the *writes* of a batch durable in one transaction, and its
*audit* records beside it, then tells the *witness*, and only then carries out the *outputs*, in the
order given (I1, I5, I11).
"""

import attrs

from kms.domain.attestation import Attestation
from kms.domain.audit import AuditEntry
from kms.domain.names import BlockId, DeviceId, LinkId, MaterialId
from kms.domain.records import Record
from kms.domain.requests import Reply
from kms.domain.secret import Secret

# ---- writes: one transaction ----------------------------------------------------------------


@attrs.frozen
class Save:
    """The record replaces the one with its key."""

    record: Record


@attrs.frozen
class Forget:
    """The record with this record's key is gone."""

    record: Record


@attrs.frozen(kw_only=True)
class StoreMaterial:
    """``bits`` are sealed under ``material``, in units of ``unit_bytes`` with a data key each."""

    material: MaterialId
    bits: Secret
    unit_bytes: int


@attrs.frozen(kw_only=True)
class WipeMaterial:
    """Bytes ``offset`` to ``offset + length`` are unreadable in the node's files (I6).

    Units wholly wiped lose their data key; of others the survivors are sealed anew. Ranges that
    are gone already stay gone; an unknown material is no error.
    """

    material: MaterialId
    offset: int
    length: int


Write = Save | Forget | StoreMaterial | WipeMaterial

# ---- audit ----------------------------------------------------------------------------------


@attrs.frozen
class Audit:
    """The entry is on the journal before any output of its batch leaves (I11)."""

    entry: AuditEntry


# ---- the witness: after the commit, before every output --------------------------------------


@attrs.frozen
class Attest:
    """The witness outside the store has this, durably, before any output of its batch leaves."""

    attestation: Attestation


# ---- outputs: after the commit --------------------------------------------------------------


@attrs.frozen(kw_only=True)
class TakeMaterial:
    """The bytes are read, made unreadable in the files, then given back: ``MaterialOpened``."""

    material: MaterialId
    offset: int
    length: int


@attrs.frozen(kw_only=True)
class ReadMaterial:
    """The bytes are read and stay: ``MaterialOpened``."""

    material: MaterialId
    offset: int
    length: int


@attrs.frozen(kw_only=True)
class SendFrame:
    """The frame goes to the neighbour if the session still stands, else it is dropped."""

    link: LinkId
    session: int
    data: bytes


@attrs.frozen(kw_only=True)
class Disconnect:
    """The session ends; frames sent before may still arrive."""

    link: LinkId
    session: int
    reason: str


@attrs.frozen(kw_only=True)
class Answer:
    """The request's one answer."""

    request_id: int
    reply: Reply


@attrs.frozen(kw_only=True)
class DeliverKey:
    """The request's one answer: SUCCESS with these bytes of a material.

    The chunk is already recorded as delivered. If the bytes cannot be read the application gets
    an error and the chunk is lost at this end.
    """

    request_id: int
    index: int
    material: MaterialId
    offset: int
    length: int
    metadata: bytes


@attrs.frozen(kw_only=True)
class Stretch:
    """Neighbouring keys ``index`` to ``index + count`` of one stream, as bytes of a material."""

    index: int
    count: int
    material: MaterialId
    offset: int
    length: int


@attrs.frozen(kw_only=True)
class DeliverKeys:
    """The request's one answer: DELIVERED with these keys, one stretch after the other.

    They are already recorded as delivered. If the bytes cannot be read the application gets an
    error and the keys are lost at this end.
    """

    request_id: int
    key_ids: bytes
    """16 octets each, in the order of the stretches"""
    stretches: tuple[Stretch, ...]


@attrs.frozen(kw_only=True)
class Refuse:
    """The request's one answer where policy forbids it: HTTP 403, binary status 4."""

    request_id: int
    message: str


@attrs.frozen(kw_only=True)
class BlockStored:
    """Answer to ``BlockArrived``: durable, or refused and why (duplicate, full, alarm)."""

    device: DeviceId
    block_id: BlockId
    refused: str = ""


@attrs.frozen(kw_only=True)
class Alarm:
    """The operator must know. ``kind`` is a stable word (docs/operations.md lists them)."""

    kind: str
    link: LinkId | None
    detail: str


@attrs.frozen(kw_only=True)
class Note:
    """One event for the log: a stable name and plain fields, never key bits."""

    name: str
    fields: dict[str, str | int | float | bool | None]


Output = (
    TakeMaterial
    | ReadMaterial
    | SendFrame
    | Disconnect
    | Answer
    | DeliverKey
    | DeliverKeys
    | Refuse
    | BlockStored
    | Alarm
    | Note
)
Effect = Write | Audit | Attest | Output
