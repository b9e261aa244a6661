"""Two ends under everything at once: I2, I5, I6, I12, I13 hold whatever happens.

``Pair`` itself checks at every step that both ends deliver the same key, that a request has one
answer, that no material's name is used twice, that nothing is served under alarm or read after it
was wiped. The machine adds the faults; ``teardown`` heals them and asks for progress.
"""

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kms.domain import limits
from kms.domain.keyruns import KeyRuns
from kms.domain.lifecycle import KeyState
from kms.domain.records import StreamRecord
from kms.domain.status import QoS, Status
from tests.domain.streams_play import ANN, BEN, A, B, Disk, Pair, key_of

NODES = st.sampled_from([A, B])
STREAMS = st.sampled_from([key_of(1), key_of(2)])
CALLERS = {A: ANN, B: BEN}


class TwoEnds(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair().established(QoS(ttl=400), key_of(1))
        self.backups: dict[str, Disk] = {}
        self.restored: str | None = None

    @rule(node=NODES, ksid=STREAMS, chunk=st.sampled_from([16, 32, 70_000]))
    def open(self, node, ksid, chunk) -> None:  # type: ignore[no-untyped-def]
        self.pair.open(node, CALLERS[node], ksid, qos=QoS(key_chunk_size=chunk, ttl=400))

    @rule(node=NODES, ksid=STREAMS, index=st.none() | st.integers(0, 30))
    def get(self, node, ksid, index) -> None:  # type: ignore[no-untyped-def]
        self.pair.get(node, index, ksid=ksid)

    @rule(node=NODES, ksid=st.just(key_of(2)))
    def close(self, node, ksid) -> None:  # type: ignore[no-untyped-def]
        self.pair.close(node, ksid)

    @rule(node=NODES, most=st.integers(1, 5))
    def hear(self, node, most) -> None:  # type: ignore[no-untyped-def]
        self.pair.hear(node, most)

    @rule(node=NODES, count=st.integers(1, 6))
    def read(self, node, count) -> None:  # type: ignore[no-untyped-def]
        for _ in range(count):
            self.pair.get(node, ksid=key_of(1))

    @rule()
    def settle(self) -> None:
        self.pair.settle()

    @rule(ms=st.sampled_from([1, 300, 2_300, 5_000, 35_000]), wall=st.sampled_from([0, 0, -10_000]))
    def time(self, ms, wall) -> None:  # type: ignore[no-untyped-def]
        self.pair.pass_ms(ms, wall_ms=ms + wall, tick=False)
        for node in (A, B):
            self.pair.batch(node, lambda streams, out: streams.tick(out))

    @rule()
    def reconnect(self) -> None:
        self.pair.cut()
        self.pair.link()

    @rule(node=NODES)
    def crash(self, node) -> None:  # type: ignore[no-untyped-def]
        self.pair.crash(node)
        self.pair.link()

    @rule(node=NODES)
    def back_up(self, node) -> None:  # type: ignore[no-untyped-def]
        self.backups[node] = self.pair.ends[node].disk.copy()

    @precondition(lambda self: self.backups)
    @rule(node=NODES)
    def restore(self, node) -> None:  # type: ignore[no-untyped-def]
        """A backup holds no material (design "Keeping and destroying")."""
        # Both ends rolled back is beyond what the two can find out by themselves.
        if node in self.backups and self.restored in (None, node):
            disk = self.backups.pop(node)
            self.pair.crash(node, disk)
            for bits in disk.material.values():
                bits[:] = bytes(len(bits))
            self.pair.unreadable[node] = set(disk.material)
            self.pair.link()
            self.restored = node

    @rule(node=NODES, alarm=st.sampled_from(["", "", "QBER"]))
    def alarm(self, node, alarm) -> None:  # type: ignore[no-untyped-def]
        self.pair.ends[node].channel.alarmed = alarm
        if alarm:
            self.pair.compromise(node, alarm)

    @rule(node=NODES, window=st.sampled_from([0, 100, limits.MIB]))
    def window(self, node, window) -> None:  # type: ignore[no-untyped-def]
        self.pair.ends[node].channel.window = window

    @invariant()
    def what_is_on_disk_is_whole(self) -> None:
        for end in self.pair.ends.values():
            records = [r for r in end.disk.streams() if isinstance(r, StreamRecord)]
            for record in records:
                runs: KeyRuns = end.runs(record.ksid)

                assert runs.end == record.next_index
                assert record.acked_index <= record.next_index
                if record.closed_ms is not None:
                    assert all(run.state is KeyState.DESTROYED for run in runs)

    def teardown(self) -> None:
        """I12: after the last fault heals, what both applications hold open makes progress."""
        pair = self.pair
        pair.cut()
        for end in pair.ends.values():
            end.channel.alarmed, end.channel.window = "", 64 * limits.MIB
            end.channel.stock = limits.MIB * 64
        pair.link()
        pair.settle()
        for ksid in (key_of(1), key_of(2)):
            for node in (A, B):
                pair.open(node, CALLERS[node], ksid)
            pair.settle()
            records = [end.disk.records.get((StreamRecord, ksid)) for end in pair.ends.values()]
            joined = [
                isinstance(r, StreamRecord)
                and r.local_joined
                and r.remote_joined
                and not r.local_closed
                and not r.remote_closed
                for r in records
            ]

            assert joined[0] == joined[1], "I7 both ends agree whether the stream is established"
            if all(joined):
                self._makes_progress(ksid)

    def _makes_progress(self, ksid) -> None:  # type: ignore[no-untyped-def]
        pair = self.pair
        ahead = max(end.stream(ksid).next_index for end in pair.ends.values())
        numbers = [(node, pair.get(node, ahead, ksid=ksid)) for node in (A, B)]
        pair.settle()

        assert [pair.status(node, n) for node, n in numbers] == [Status.SUCCESS] * 2
        nexts = [end.stream(ksid).next_index for end in pair.ends.values()]
        assert nexts[0] == nexts[1]


TwoEnds.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    # Shrinking takes minutes; take the line out to have a failure explained.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
TestTwoEnds = TwoEnds.TestCase
