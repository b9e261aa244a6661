"""Two ends under everything at once, and operators at both: nothing that is held back is delivered
(I13), and when all is healed both ends know the same."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from kms.domain import ranges
from kms.domain.effects import DeliverKey
from kms.domain.holds import same
from kms.domain.names import WHOLE_LINK
from kms.domain.orders import Act
from kms.domain.outbox import Outbox
from kms.domain.records import HoldRecord
from tests.domain.streams_play import LINK, A, B, End, Pair, key_of
from tests.domain.test_streams_machine import NODES, STREAMS, TwoEnds

ACTS = st.sampled_from([Act.SUSPEND, Act.SUSPEND, Act.RESUME, Act.COMPROMISE])


def holds(end: End) -> dict[object, HoldRecord]:
    """As they are on disk."""
    found = [r for r in end.disk.records.values() if isinstance(r, HoldRecord)]
    return {record.ksid: record for record in found}


class WatchedPair(Pair):
    """Looks at every key that leaves, beside what was held on the disk before and after."""

    def _commit(self, end: End, out: Outbox) -> None:
        before = holds(end)
        super()._commit(end, out)
        after = holds(end)
        for effect in end.effects:
            if isinstance(effect, DeliverKey):
                ksid = self._ksids[effect.request_id]
                for of, index in ((ksid, effect.index), (WHOLE_LINK, 0)):
                    if of in before and of in after:
                        assert not _has(before[of], index) or not _has(after[of], index), "I13"


def _has(hold: HoldRecord, index: int) -> bool:
    return ranges.has(hold.suspended, index) or ranges.has(hold.compromised, index)


class TwoOperators(TwoEnds):
    def __init__(self) -> None:
        super().__init__()
        self.pair = WatchedPair().established(ksid=key_of(1))

    @rule(node=NODES, act=ACTS, ksid=STREAMS, first=st.integers(0, 12), count=st.integers(1, 6))
    def order_range(self, node, act, ksid, first, count) -> None:  # type: ignore[no-untyped-def]
        self.pair.order(node, act, first, count, ksid=ksid, settle=False)

    @rule(node=NODES, act=ACTS, ksid=st.just(key_of(2)))
    def order_stream(self, node, act, ksid) -> None:  # type: ignore[no-untyped-def]
        self.pair.order(node, act, ksid=ksid, settle=False)

    @rule(node=NODES, act=st.sampled_from([Act.SUSPEND, Act.RESUME]))
    def order_link(self, node, act) -> None:  # type: ignore[no-untyped-def]
        self.pair.order(node, act, link=LINK, settle=False)

    def teardown(self) -> None:
        """What both ends know of what they both have is the same, and when all of it is resumed
        every stream goes on."""
        pair = self.pair
        for end in pair.ends.values():
            end.channel.alarmed = ""
        pair.cut()
        pair.link()
        pair.settle()
        here, there = (holds(pair.ends[node]) for node in (A, B))
        for ksid in here.keys() & there.keys():
            assert same(here[ksid], there[ksid]), "I7 both ends know what was ordered"
        for ksid, hold in here.items():
            if hold.suspended and ksid == WHOLE_LINK:
                assert pair.order(A, Act.RESUME, link=LINK).changed
            elif hold.suspended:
                assert pair.order(A, Act.RESUME, ksid=hold.ksid).changed
        super().teardown()


TestTwoOperators = TwoOperators.TestCase
TestTwoOperators.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
