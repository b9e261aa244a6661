"""What a link's parts share and keep across a restart: its record, open for change."""

import attrs

from kms.domain import limits
from kms.domain.direction import Direction, written_by
from kms.domain.names import LinkId, MaterialId, NodeId, SecretId, leader_of
from kms.domain.outbox import Outbox
from kms.domain.pad import Pad, ReaderPad, WriterPad
from kms.domain.records import LinkRecord, LinkState, Way


@attrs.frozen(kw_only=True)
class LinkSettings:
    """What the operator chose for one link."""

    pool_bytes_max: int
    qber_max: float
    block_expiry_ms: int
    spent_blocks: int = 0
    """entries of the append log that are remembered when their blocks are used up; never fewer
    than ``appendlog.HISTORY``"""


class LinkMemory:
    """The link's record and its two pads, seen from ``node``."""

    def __init__(self, node: NodeId, peer: NodeId, link: LinkId, settings: LinkSettings) -> None:
        self.node, self.peer, self.link, self.settings = node, peer, link, settings
        self.leads = leader_of(link) == node
        self.renew_pads()
        self.state = LinkState.NEW
        self.epoch = 0
        self.secrets: tuple[str, ...] = ()
        self.hash_key: MaterialId | None = None
        self.alarm = ""
        self.reason = ""
        self.log_count = 0
        self.log_hash = b""
        self.bits_agreed: tuple[bytes, ...] = ()
        self.restored: Way | None = None
        self.standing = ""
        """why the whole node stands; empty when it does not. Not in the record"""

    def renew_pads(self) -> None:
        """Two empty pads, offsets from 0."""
        mine = written_by(self.node, self.link)
        self.writer = WriterPad(self.link, mine)
        self.reader = ReaderPad(self.link, mine.other)
        self.pads: tuple[WriterPad, ReaderPad] = (self.writer, self.reader)

    def pad(self, direction: Direction) -> Pad:
        return self.writer if self.writer.direction is direction else self.reader

    @property
    def secret_id(self) -> SecretId:
        """The newest secret: the one the pads belong to."""
        return SecretId(self.secrets[-1] if self.secrets else "")

    def restore(self, record: LinkRecord) -> None:
        self.state, self.epoch, self.secrets = record.state, record.epoch, record.secrets
        self.hash_key, self.alarm, self.reason = record.hash_key, record.alarm, record.reason
        self.log_count, self.log_hash = record.log_count, record.log_hash
        self.restored = record.restored
        size, digests = limits.BITS_DIGEST_BYTES, record.bits_agreed
        self.bits_agreed = tuple(digests[at : at + size] for at in range(0, len(digests), size))

    def agreed(self, digest: bytes) -> None:
        """The block with this digest is to be pad. For the caller to save."""
        self.bits_agreed = (*self.bits_agreed, digest)[-limits.BLOCKS_COMPARED :]

    def save(self, out: Outbox) -> None:
        out.save(
            LinkRecord(
                link=self.link,
                state=self.state,
                epoch=self.epoch,
                secrets=self.secrets,
                hash_key=self.hash_key,
                log_count=self.log_count,
                log_hash=self.log_hash,
                alarm=self.alarm,
                reason=self.reason,
                bits_agreed=b"".join(self.bits_agreed),
                restored=self.restored,
            )
        )
