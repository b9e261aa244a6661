"""What two hellos come to: where both ends of a link go on.

Rule 1: a hello can only raise marks; whoever breaks TLS can burn key with it, never get key reused.
Rule 2: both ends compute the same outcome from the same two hellos; what only one of them can know
(that the other's store is old) travels as the epoch of its welcome.

Theory of operation. If neither end restarted since they last spoke, their windows are still in
memory and only frames under way are burnt: the pads go on at the writer's mark. Otherwise each pad
goes on at the highest grant that either end has recorded. Append logs are compared by hash over
their common length. A leader with *fewer* entries than its follower, a reader that recorded less
than its writer, or a writer with less than the reader knows it had, has an old store (a restored
backup): what only the other end holds is cut, the epoch rises, and the operator is told. Logs that
differ within the common length cannot be explained by any of this: the link is doubted and stops.
"""

from collections.abc import Callable

import attrs

from kms.domain import limits, wire
from kms.domain.direction import Direction
from kms.domain.linkmemory import LinkMemory
from kms.domain.records import Way
from kms.domain.wire import Hello, PadState


class Refused(Exception):
    """The hellos do not fit. ``doubt``: the link must stop until an operator restarts it."""

    def __init__(self, reason: str, *, doubt: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.doubt = reason, doubt


@attrs.frozen(kw_only=True)
class Outcome:
    """Where this end goes on."""

    protocol: str
    continuous: bool
    """windows in memory stay good"""
    epoch: int
    cut_to: int | None
    """the own log is cut to this many entries"""
    writer_start: int
    reader_start: int
    writer_end: int
    reader_end: int
    recorded: int
    """the grant that the writer of the pad this end reads has recorded"""
    old: str
    """whose store is old and why; empty when none is"""
    mine: bool
    """it is this end's"""


def own(memory: LinkMemory, boot: int, seen_boot: int) -> Hello:
    """This end's hello."""
    pads = {pad.direction: PadState(pad.granted, pad.mark, pad.extents.end) for pad in memory.pads}
    return Hello(
        # Like a version, a word that only its knower acts on: how this end was put back.
        protocols=[*wire.PROTOCOLS, *([memory.restored.value] if memory.restored else [])],
        node=memory.node,
        link=memory.link,
        boot=boot,
        seen_boot=seen_boot,
        epoch=memory.epoch,
        secret_id=memory.secret_id,
        log_count=memory.log_count,
        log_hash=memory.log_hash,
        from_leader=pads[Direction.FROM_LEADER],
        to_leader=pads[Direction.TO_LEADER],
    )


def settle(
    memory: LinkMemory,
    mine: Hello,
    theirs: Hello,
    *,
    settled: int,
    hash_at: Callable[[int], bytes | None],
) -> Outcome:
    """The outcome of both hellos. Raises ``Refused``; nothing changed then.

    ``settled``: appends that the leader knows its follower to have had.
    """
    protocol = next((each for each in wire.PROTOCOLS if each in theirs.protocols), None)
    if protocol is None:
        raise Refused(
            f"no common protocol: here {', '.join(mine.protocols)}, "
            f"there {', '.join(theirs.protocols)}"
        )
    if theirs.node != memory.peer or theirs.link != memory.link:
        raise Refused("the hello is another node's or another link's")
    ways = [[way for way in Way if way.value in each.protocols] for each in (mine, theirs)]
    if all(ways) and any(Way.ASK_PEERS in each for each in ways):
        raise Refused("both ends were put back to old copies: none knows what was used", doubt=True)
    if theirs.secret_id != mine.secret_id:
        raise Refused("the two ends use different link secrets: bring the newest one to both")
    # An end that just began with this secret, perhaps on a new disk, takes whatever epoch it finds.
    fresh = not any(pad.granted for pad in memory.pads)
    if not fresh and theirs.epoch > mine.epoch + limits.EPOCH_JUMP_MAX:
        raise Refused("the neighbour's epoch is out of reach")
    old, own_store = _compare_logs(memory, mine, theirs, settled, hash_at)
    leader, follower = (mine, theirs) if memory.leads else (theirs, mine)
    met = theirs.seen_boot == mine.boot and mine.seen_boot == theirs.boot
    continuous = met and not old and _windows_fit(leader, follower)
    starts: dict[Direction, int] = {}
    ends: dict[Direction, int] = {}
    for direction in Direction:
        at_writer, at_reader = _views(direction, leader, follower)
        ends[direction] = max(at_writer.end, at_reader.end)
        if continuous:
            starts[direction] = max(at_writer.mark, at_reader.mark)
        else:
            starts[direction] = max(at_writer.granted, at_reader.granted)
            if at_writer.granted > at_reader.granted and not old:
                old = "the reader recorded a lower grant than its writer"
                own_store = direction is memory.reader.direction
            if starts[direction] > min(at_writer.end, at_reader.end) and not old:
                # Grants cover only what both ends held.
                old = "one end lacks what was granted"
                own_store = starts[direction] > _of(mine, direction).end
        if starts[direction] > ends[direction]:
            raise Refused("a mark beyond the end of its pad")
    confirmed, reported = memory.reader.confirmed, _of(theirs, memory.reader.direction).granted
    if not continuous and reported < confirmed and not old:
        old = "the writer recorded a lower grant than it had confirmed"
    if max(ends.values()) > limits.PAD_OFFSET_MAX:
        raise Refused("the pad's offsets are used up: bring another link secret")
    epoch = max(mine.epoch, theirs.epoch) + (1 if old else 0)
    if epoch > limits.EPOCH_MAX:
        raise Refused("the link's epochs are used up: bring another link secret", doubt=True)
    cut = bool(old) and theirs.log_count < mine.log_count
    return Outcome(
        protocol=protocol,
        continuous=continuous,
        epoch=epoch,
        cut_to=theirs.log_count if cut else None,
        writer_start=starts[memory.writer.direction],
        reader_start=starts[memory.reader.direction],
        writer_end=ends[memory.writer.direction],
        reader_end=ends[memory.reader.direction],
        recorded=reported,
        old=old,
        mine=own_store,
    )


def _compare_logs(
    memory: LinkMemory,
    mine: Hello,
    theirs: Hello,
    settled: int,
    hash_at: Callable[[int], bytes | None],
) -> tuple[str, bool]:
    """Which end's store is old, and whether it is this one's."""
    if theirs.log_count <= mine.log_count:
        known = hash_at(theirs.log_count)
        if known is None:
            raise Refused("the neighbour's append log is too old to compare", doubt=True)
        if known != theirs.log_hash:
            raise Refused("the append logs differ", doubt=True)
    leader, follower = (mine, theirs) if memory.leads else (theirs, mine)
    if leader.log_count < follower.log_count:
        return "the leader lacks appends that its follower has", memory.leads
    if memory.leads and follower.log_count < settled:
        return "the follower lacks appends that it had acknowledged", False
    return "", False


def _windows_fit(leader: Hello, follower: Hello) -> bool:
    """Whether what is left in memory can be the same bytes. It is not when one end began anew, the
    other never heard of it, and grants had been lost before."""
    views = [_views(direction, leader, follower) for direction in Direction]
    return all(
        max(at_writer.mark, at_reader.mark) <= min(at_writer.granted, at_reader.granted)
        for at_writer, at_reader in views
    )


def _of(hello: Hello, direction: Direction) -> PadState:
    return hello.from_leader if direction is Direction.FROM_LEADER else hello.to_leader


def _views(direction: Direction, leader: Hello, follower: Hello) -> tuple[PadState, PadState]:
    """The pad as its writer and as its reader sees it."""
    writer, reader = (
        (leader, follower) if direction is Direction.FROM_LEADER else (follower, leader)
    )
    return _of(writer, direction), _of(reader, direction)
