"""When every fault has ended: the link comes up, both ends agree, streams go on (I6, I7, I12).

What is given is what an operator gives: connections, time, key, and another secret where the link
says that it needs one.
"""

from typing import TYPE_CHECKING

from kms.domain.names import KSID
from kms.domain.records import LinkState, Way
from kms.domain.requests import GetKey, OpenConnect, OpenReply
from kms.domain.session import Phase
from kms.domain.status import QoS, Status
from tests.sim.ledger import still_readable
from tests.world import ALICE, ANN, BEN, BOB, LINK

if TYPE_CHECKING:
    from tests.sim.life import Life

ENDS = {ALICE: ANN, BOB: BEN}


class Healing:
    """The end of one life."""

    def __init__(self, life: "Life") -> None:
        self.life, self.world, self.faults = life, life.world, life.faults

    def heal(self) -> None:
        """Every fault ends; enough key comes; what must be true then is checked."""
        world = self.world
        world.settle()
        for number, (name, site) in enumerate(world.sites.items()):
            if site.node.standing is not None:
                # Whichever way they choose, and both may choose the wrong one.
                ways = (Way.BURN, Way.BURN, Way.ASK_PEERS)
                self.life.speak(name, ways[(self.life.blocks + number) % 3])
                world.settle()
        if self._needs_secret():
            self._another_secret()
        world.connect()
        if self._needs_secret():
            # What an old store burns can be all there was.
            self._another_secret()
        self._reconnect()
        self._pass_time(6_000)
        self._reconnect()
        for _ in range(24):
            self._a_block()
            world.settle()
            if self.faults.rot and self._needs_secret():
                # One rotten block can be all the pad there was.
                self._another_secret()
            self._reconnect()
        self._pass_time(15_000)
        self._reconnect()
        self._two_ends_agree()
        self._streams_go_on()
        self._pass_time(70_000, step_ms=1_000)
        self._two_ends_agree()
        self._nothing_destroyed_is_readable()

    def _needs_secret(self) -> bool:
        memories = [site.node.links[LINK].memory for site in self.world.sites.values()]
        if any(memory.state is not LinkState.OPEN for memory in memories):
            return True
        if memories[0].secret_id != memories[1].secret_id:
            return True
        # Without blocks a link lives on its hand-carried secret, so long.
        return any(pad.level() < 2048 for memory in memories for pad in memory.pads)

    def _reconnect(self) -> None:
        """The shells connect again whenever a session ends."""
        for _ in range(20):
            self.world.settle()
            if self.world.connected():
                return
            if self._needs_secret():
                self._another_secret()
            self.world.connect()
        raise AssertionError("I12 the link does not come up: " + repr(self.life.alarms()[-3:]))

    def _pass_time(self, ms: int, step_ms: int = 500) -> None:
        for _ in range(ms // step_ms):
            self.world.pass_time(step_ms, step_ms)
            if not self.world.connected():
                self._reconnect()

    def _two_ends_agree(self) -> None:
        links = [self.world.sites[name].node.links[LINK] for name in (ALICE, BOB)]
        alice, bob = (link.memory for link in links)
        assert [link.greeting.phase for link in links] == [Phase.UP, Phase.UP], "I12 link is up"
        assert (alice.log_count, alice.log_hash) == (bob.log_count, bob.log_hash), "I7 logs agree"
        assert alice.epoch == bob.epoch, "I7 epochs agree"
        for writer, reader in ((alice.writer, bob.reader), (bob.writer, alice.reader)):
            assert writer.granted == reader.granted, f"I7 grants agree: {writer.direction}"
            assert writer.mark == reader.mark, f"I7 marks agree: {writer.direction}"
            if not self.faults.rot:
                assert writer.level() == reader.level(), f"I7 levels agree: {writer.direction}"
        both = links[0].agreement.held.keys() & links[1].agreement.held.keys()
        assert not both, "I7 what both ends hold is agreed"
        records = [
            {
                ksid: (stream.record.next_index, stream.record.local_joined)
                for ksid, stream in self.world.sites[name].node.streams._register.streams.items()
                # An end that heard of a close keeps the stream until its own application's word.
                if not (stream.record.local_closed or stream.record.remote_closed)
            }
            for name in (ALICE, BOB)
        ]
        assert records[0].keys() == records[1].keys(), "I7 both ends have the same streams"
        for ksid, (index, _) in records[0].items():
            assert index == records[1][ksid][0], f"I7 next index of {ksid}"

    def _streams_go_on(self) -> None:
        """I12: every stream open at both ends, and a new one, gives equal keys to both."""
        world = self.world
        reply = world.answer(
            ALICE, ANN, OpenConnect(source=ANN, destination=BEN, qos=QoS(key_chunk_size=32))
        )
        assert isinstance(reply, OpenReply), reply
        assert reply.status is Status.PEER_NOT_CONNECTED_YET, reply
        assert reply.ksid is not None
        world.answer(BOB, BEN, OpenConnect(source=BEN, destination=ANN, qos=QoS(), ksid=reply.ksid))
        for ksid in [*self._established(), reply.ksid]:
            assert self._progress(ksid), f"I12 stream {ksid} does not go on"

    def _established(self) -> list[KSID]:
        registers = [self.world.sites[name].node.streams._register for name in (ALICE, BOB)]
        return [
            ksid
            for ksid, stream in registers[0].streams.items()
            if stream.established and ksid in registers[1].streams
        ]

    def _progress(self, ksid: KSID) -> bool:
        got: list[set[int]] = [set(), set()]
        for attempt in range(200):
            numbers = [self.world.ask(n, ENDS[n], GetKey(ksid=ksid)) for n in (ALICE, BOB)]
            self.world.settle()
            if attempt % 3 == 0:
                self._a_block()
            self._pass_time(500)
            for mine, name, number in zip(got, (ALICE, BOB), numbers, strict=True):
                if number in self.world.sites[name].keys:
                    mine.add(self.world.sites[name].keys[number][0])
            if got[0] & got[1] or ksid not in self._established():
                return True
        return False

    def _nothing_destroyed_is_readable(self) -> None:
        for site in self.world.sites.values():
            assert not still_readable(site), f"I6 at {site.name}: {still_readable(site)[:4]}"

    def _another_secret(self) -> None:
        self.life.secrets += 1
        self.world.give_secret(number=self.life.secrets)

    def _a_block(self) -> None:
        self.world.block(self.life.new_block(), length=65_536)
