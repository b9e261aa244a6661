"""Everything that the node remembers across a crash, one row each; no key bits.

A record class is a table, ``KEY`` names its primary key. Storage keeps the latest record per key;
``Node`` is rebuilt from all of them. Times are wall ms, for a person and for expiry.
"""

from enum import Enum
from typing import ClassVar

import attrs

from kms.domain.direction import Direction
from kms.domain.lifecycle import KeyState
from kms.domain.names import KSID, BlockId, DeviceId, LinkId, MaterialId, NodeId, SAEId
from kms.domain.status import QoS


class LinkState(Enum):
    """Whether a link's pads may be used."""

    NEW = "new"
    """no secret yet: nothing can be sealed"""
    OPEN = "open"
    DOUBTED = "doubted"
    """stopped by an alarm; a second secret opens a new epoch"""


class BlockState(Enum):
    """How far a block got."""

    HELD = "held"
    """at this end, not agreed"""
    AGREED = "agreed"
    """appended: part of a pad"""
    SPENT = "spent"
    """used up or burnt; kept for its place in the append log and for provenance"""


class Way(Enum):
    """How a store that is old, or may be, goes on."""

    BURN = "burn"
    """nothing that was agreed before is ever used; each link waits for a new secret"""
    ASK_PEERS = "ask-peers"
    """each neighbour says how far the pads were used: for a node that was put back alone"""


@attrs.frozen(kw_only=True)
class NodeRecord:
    KEY: ClassVar[tuple[str, ...]] = ("node",)
    node: NodeId
    boot: int
    """starts of this store so far"""
    generation: int = 0
    """rises with everything that a copy made before must not be used without; 0: no witness"""
    store: str = ""
    """random name of this store, made at its first start with a witness"""
    written_ms: int = 0
    """when the generation last rose"""


@attrs.frozen(kw_only=True)
class LinkRecord:
    KEY: ClassVar[tuple[str, ...]] = ("link",)
    link: LinkId
    state: LinkState
    epoch: int
    """1 from the first secret on; raised by each new secret and by each burn of an old store"""
    secrets: tuple[str, ...] = ()
    """ids of the secrets used so far, newest last: none is taken twice"""
    hash_key: MaterialId | None = None
    """where the universal-hash key of this epoch is kept"""
    log_count: int = 0
    """appends under the newest secret"""
    log_hash: bytes = b""
    alarm: str = ""
    """why no key of this link is served (I13); empty when it may be"""
    reason: str = ""
    bits_agreed: bytes = b""
    """digests of the last agreed blocks' bits, one after the other, newest last: none of them is
    agreed on again"""
    restored: Way | None = None
    """how this end went on after its store was put back to an old copy, until it has met its
    neighbour again; then None"""


@attrs.frozen(kw_only=True)
class BlockRecord:
    KEY: ClassVar[tuple[str, ...]] = ("link", "block_id")
    link: LinkId
    block_id: BlockId
    state: BlockState
    length: int
    material: MaterialId
    device: DeviceId | None
    """None: from the hand-carried secret"""
    origin: str
    """quantum, post-quantum, classical, secret"""
    qber: float | None
    received_ms: int
    seq: int | None = None
    """place in the append log"""
    direction: Direction | None = None
    start: int | None = None
    """first pad offset, bytes"""
    log_hash: bytes = b""
    """hash of the append log up to and including this block"""
    bits_digest: bytes = b""
    """of its bits (``sanity``): the leader may append it before they are read again"""


@attrs.frozen(kw_only=True)
class PadRecord:
    KEY: ClassVar[tuple[str, ...]] = ("link", "direction")
    link: LinkId
    direction: Direction
    granted: int
    """I1: no byte below this offset is used again after a restart. At the reader: the grant it
    gave. At the writer: the highest grant it has acted on."""
    confirmed: int
    """at the reader: a grant that the writer has recorded for certain; less there means an old
    store"""
    end: int
    """first offset after the last append"""


@attrs.frozen(kw_only=True)
class StreamRecord:
    KEY: ClassVar[tuple[str, ...]] = ("ksid",)
    ksid: KSID
    link: LinkId
    local: SAEId
    remote: SAEId
    designates: bool
    """this end allocates the stream's chunks, from the pad it writes"""
    qos: QoS
    next_index: int
    """chunks designated so far"""
    acked_index: int = 0
    """at the end that designates: of these, the chunks that the other end has said it holds"""
    branch: int = 0
    """under which the newest chunk here was designated: what two ends hold under one branch is the
    same"""
    falls: int = 0
    """times that next_index fell back, or that this process had forgotten a stream before: part of
    branches and of materials' names, so that none is used again"""
    local_joined: bool
    remote_joined: bool
    local_closed: bool
    remote_closed: bool
    created_ms: int
    touched_ms: int
    """last request of the local application"""
    closed_ms: int | None = None
    reason: str = ""
    paired: bool = False
    """it carries keys with IDs (ETSI GS QKD 014); the application of the end that designates is the
    master SAE"""
    announced: bool = False
    """the neighbour's word began it here, not the local application: it counts among what the
    neighbour announced, for good, whichever end designates"""


@attrs.frozen(kw_only=True)
class KeyRunRecord:
    """Neighbouring chunks of one stream in one life-cycle state (never a row per key)."""

    KEY: ClassVar[tuple[str, ...]] = ("ksid", "first")
    ksid: KSID
    first: int
    count: int
    state: KeyState
    material: MaterialId | None
    material_first: int
    """index of the chunk at offset 0 of the material"""
    created_ms: int
    expires_ms: int | None
    since_ms: int
    """when the state was entered"""
    reason: str


@attrs.frozen(kw_only=True)
class HoldRecord:
    """What operators of either end have said about keys of one stream, or of a whole link."""

    KEY: ClassVar[tuple[str, ...]] = ("link", "ksid")
    link: LinkId
    ksid: KSID
    """``WHOLE_LINK``: all streams of the link"""
    leader: int = 0
    """number of the last order at the link's leader; rises with its wall clock"""
    follower: int = 0
    suspended: tuple[tuple[int, int], ...] = ()
    """indices that are held back, (first, end), in order and apart from one another"""
    compromised: tuple[tuple[int, int], ...] = ()
    """indices that nobody gets any more; they only grow"""
    operator: str = ""
    """who gave the newest order"""
    reason: str = ""
    since_ms: int = 0


class BundleState(Enum):
    """How far a bundle got, at one node."""

    FILLING = "filling"
    """on its way: nobody has a key of it"""
    HELD = "held"
    """durable at every node that it is for, as far as this one knows: its slaves may fetch"""
    ENDED = "ended"
    """nothing of it is left; kept for its name"""


@attrs.frozen(kw_only=True)
class BundleRecord:
    """The keys of one request that several nodes hold, as one of them has it (never a row per
    key)."""

    KEY: ClassVar[tuple[str, ...]] = ("name",)
    name: KSID
    """what its key IDs begin with, as those of a stream begin with its KSID"""
    state: BundleState
    master: SAEId
    slaves: tuple[SAEId, ...]
    """those who live at this node"""
    count: int
    key_bytes: int
    own: bool
    """made here, for a master who lives here"""
    links: tuple[LinkId, ...]
    """over which it went, or came"""
    filled: int
    """keys that are durable here"""
    part_keys: int
    """keys of one material; the last may have fewer"""
    serial: int
    """part of the materials' names: none is used twice, whatever a neighbour says again"""
    taken: bytes
    """slave by slave a bit per key, the first one highest; octets are filled up with zeros"""
    created_ms: int
    expires_ms: int
    reason: str = ""


Record = (
    NodeRecord
    | LinkRecord
    | BlockRecord
    | PadRecord
    | StreamRecord
    | KeyRunRecord
    | HoldRecord
    | BundleRecord
)
RECORDS: tuple[type[Record], ...] = (
    NodeRecord,
    LinkRecord,
    BlockRecord,
    PadRecord,
    StreamRecord,
    KeyRunRecord,
    HoldRecord,
    BundleRecord,
)
