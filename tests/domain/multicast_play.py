"""Three whole nodes for stories of keys that several nodes hold: alice's neighbours are bob and
carol. Masters ask with random bytes in hand, as the shell does."""

import hashlib
from collections.abc import Mapping
from uuid import UUID

from kms.domain import limits
from kms.domain.bundle import Bundle
from kms.domain.effects import Refuse
from kms.domain.events import Asked, BlockArrived, HungUp
from kms.domain.keyids import ID_BYTES
from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, Outcome
from kms.domain.names import KSID, BlockId, DeviceId, NodeId, SAEId, link_id
from kms.domain.outbox import Outbox
from kms.domain.records import BundleRecord, BundleState
from kms.domain.requests import Request, bytes_wanted
from kms.domain.secret import Secret
from kms.domain.wire import Entrust
from tests.world import ALICE, BOB, World, block_bits

CAROL = NodeId("carol")
AB, AC = link_id(ALICE, BOB), link_id(ALICE, CAROL)
ANN, ANA = SAEId("sae:ann.alice"), SAEId("sae:ana.alice")
BEN, BEA = SAEId("sae:ben.bob"), SAEId("sae:bea.bob")
CAT = SAEId("sae:cat.carol")
HOMES = {ANN: ALICE, ANA: ALICE, BEN: BOB, BEA: BOB, CAT: CAROL}
NOT_FOUND = "one or more keys specified are not found on KME"


class Party(World):
    """``World`` with its links up and some blocks agreed on."""

    def __init__(self, *, blocks: int = 4, watched: bool = False) -> None:
        super().__init__(ALICE, BOB, CAROL, watched=watched)
        self.settle()
        self.allow(HOMES)
        self._blocks = 0
        for number, (one, other) in enumerate(((ALICE, BOB), (ALICE, CAROL), (BOB, CAROL)), 1):
            self.give_secret(one, other, number=number)
            self.connect(one, other)
        for _ in range(blocks):
            self.refill(BOB)
            self.refill(CAROL)

    def allow(self, directory: Mapping[SAEId, NodeId] = HOMES, *rules: object) -> None:
        super().allow(dict(directory), *rules)  # type: ignore[arg-type]

    def refill(self, other: NodeId, length: int = 64 * limits.KIB) -> None:
        """One block more of alice's link to this neighbour."""
        self._blocks += 1
        for name in (ALICE, other):
            self.sites[name].inbox.append(
                BlockArrived(
                    device=DeviceId(f"device-{name}"),
                    link=link_id(ALICE, other),
                    block_id=BlockId(UUID(int=self._blocks)),
                    bits=Secret(block_bits(self._blocks, length)),
                )
            )
        self.settle()

    # ---- what applications do ---------------------------------------------------------------

    def put(
        self, name: NodeId, caller: SAEId, request: Request, *, drawn: bool = True, number: int = 0
    ) -> int:
        """Asked, and not yet handled."""
        self._request += 1
        count = self._request
        fresh = UUID(int=number or 0x5AFE << 112 | count << 80 | 0x4000 << 64 | 0x8000 << 48)
        wanted = bytes_wanted(request) if drawn else 0
        bits = hashlib.shake_256(f"drawn {count}".encode()).digest(wanted)
        self.sites[name].inbox.append(
            Asked(
                request_id=count,
                caller=caller,
                request=request,
                fresh=KSID(fresh),
                drawn=Secret(bits) if wanted else None,
            )
        )
        return count

    def enc(
        self,
        *slaves: SAEId,
        count: int = 1,
        size: int = 32,
        master: SAEId = ANN,
        name: NodeId = ALICE,
        drawn: bool = True,
        number: int = 0,
    ) -> int:
        """The number of a request that alice has handled, nothing else."""
        wish = EncKeys(slave=slaves[0], additional_slaves=slaves[1:], number=count, key_bytes=size)
        asked = self.put(name, master, wish, drawn=drawn, number=number)
        self.step(name, 1000)
        return asked

    def got(self, *slaves: SAEId, count: int = 1, size: int = 32) -> KeysReply:
        """Keys that ann gets."""
        number = self.enc(*slaves, count=count, size=size)
        self.settle()
        found = self.reply(number)
        assert isinstance(found, KeysReply)
        assert found.outcome is Outcome.DELIVERED, found.message
        return found

    def dec(self, slave: SAEId, key_ids: bytes, master: SAEId = ANN) -> KeysReply | Refuse:
        name = HOMES[slave]
        number = self.put(name, slave, DecKeys(master=master, key_ids=key_ids))
        self.settle()
        found = self.reply(number, name)
        assert found is not None
        return found

    def reply(self, number: int, name: NodeId = ALICE) -> KeysReply | Refuse | None:
        """None while it waits."""
        found = self.sites[name].answers.get(number)
        assert found is None or isinstance(found, KeysReply | Refuse)
        return found

    def refusal(self, number: int, name: NodeId = ALICE) -> tuple[Outcome, str]:
        found = self.reply(number, name)
        assert isinstance(found, KeysReply)
        assert (found.keys, found.key_ids) == (None, b"")
        return found.outcome, found.message

    def hang_up(self, number: int, name: NodeId = ALICE) -> None:
        self.sites[name].inbox.append(HungUp(request_id=number))
        self.settle()

    def enc_first_part(self, *slaves: SAEId) -> int:
        """The number of a request of which ben's node has heard the first part of two."""
        self.only_parts(1)
        number = self.enc(*slaves, count=600)
        self.settle()
        (record,) = self.bundles(BOB)
        assert (BundleState.FILLING, 512) == (record.state, record.filled)
        return number

    def only_parts(self, count: int) -> None:
        """So many parts go to bob's node, and no more."""
        link = self.sites[ALICE].node.links[AB]
        entrust, left = link.entrust, iter(range(count))

        def some(message: Entrust, out: Outbox) -> bool:
            return next(left, None) is not None and entrust(message, out)

        link.entrust = some  # type: ignore[method-assign]

    # ---- what is there ------------------------------------------------------------------------

    def bundles(self, name: NodeId) -> list[BundleRecord]:
        """On its disk."""
        records = self.sites[name].disk.records.values()
        return [each for each in records if isinstance(each, BundleRecord)]

    def states(self, name: NodeId) -> list[BundleState]:
        return [each.state for each in self.bundles(name)]

    def readable(self, name: NodeId) -> int:
        """Bytes of bundles in its files."""
        disk = self.sites[name].disk
        return sum(left for each, left in disk.live.items() if each.startswith("entrusted/"))

    def in_memory(self, name: NodeId) -> list[Bundle]:
        return list(self.sites[name].node.streams._register.bundles.by_name.values())

    def level(self, other: NodeId) -> int:
        """Pad that alice writes to this neighbour, and has not used."""
        return self.sites[ALICE].node.links[link_id(ALICE, other)].memory.writer.level()


def ids_of(found: KeysReply) -> list[bytes]:
    return [found.key_ids[at : at + ID_BYTES] for at in range(0, len(found.key_ids), ID_BYTES)]


def outcome(found: KeysReply | Refuse) -> tuple[Outcome, str]:
    assert isinstance(found, KeysReply)
    return found.outcome, found.message
