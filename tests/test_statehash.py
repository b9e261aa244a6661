"""The hash sees everything, and leaves out exactly what its lists name."""

from collections.abc import Callable

import pytest

from kms.domain.names import KSID, BlockId, SAEId
from kms.domain.secret import Secret
from tests.fuzz.keyed import keyed
from tests.siege import Siege
from tests.statehash import COUNTERS, PASSING, SESSION, _slots, changes, state, state_hash
from tests.world import ALICE


def test_every_name_that_is_left_out_is_an_attribute_of_something_in_a_node() -> None:
    found: set[str] = set()
    pending: list[object] = [Siege().node]
    seen: dict[int, object] = {}
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            pending += value
        elif type(value).__module__.startswith("kms."):
            names = [*getattr(value, "__dict__", ()), *_slots(type(value))]
            found |= {f"{base.__name__}.{name}" for base in type(value).__mro__ for name in names}
            pending += [getattr(value, name) for name in names if hasattr(value, name)]

    assert set() == (COUNTERS | PASSING | SESSION) - found


def test_a_copy_has_the_same_hash_and_a_life_of_its_own() -> None:
    one, other = Siege(), Siege()
    before = state_hash(other.node)

    assert before == state_hash(one.node)
    one.link.memory.writer.take(10)
    assert before == state_hash(other.node)
    assert before != state_hash(one.node)


def test_copies_of_a_node_with_bundles_have_the_same_hash() -> None:
    """What a node keeps by object, and not by name, lies elsewhere in each copy."""
    one, other = (Siege(ALICE, keyed().world) for _ in range(2))

    assert one.node.streams._register.bundles._due._mono._entries
    assert state_hash(one.node) == state_hash(other.node)


CHANGES: dict[str, Callable[[Siege], object]] = {
    "a pad's mark": lambda s: s.link.memory.reader.spend(s.link.memory.reader.mark + 1, 1),
    "a bit of the pad": lambda s: s.link.memory.reader.window._pieces[0].bits.__setitem__(-1, 0),
    "the hash key": lambda s: setattr(s.link.intake, "_key", Secret(bytes(32))),
    "the append log": lambda s: setattr(s.link.memory, "log_hash", b"other"),
    "an alarm": lambda s: setattr(s.link.guard, "_neighbours", "qber"),
    "another link": lambda s: setattr(s.node.links[s.far].memory, "epoch", 2),
    "a queue": lambda s: s.link.outgoing._streams.append(b"x"),
    "an offer": lambda s: s.link.agreement._to_offer.__setitem__(BlockId(_a_ksid(s)), None),
    "the order of streams": lambda s: s.node.streams._register.streams.__setitem__(
        _a_ksid(s), s.node.streams._register.streams.pop(_a_ksid(s))
    ),
    "the directory": lambda s: setattr(s.node.streams._register, "directory", {SAEId("x:y"): "a"}),
    "a set in the policy": lambda s: setattr(s.node.streams._register, "policy", "none"),
}


def _a_ksid(siege: Siege) -> KSID:
    return next(iter(siege.node.streams._register.streams))


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_is_changed_is_seen_and_named(what: str) -> None:
    siege = Siege()
    before, hash_ = state(siege.node), state_hash(siege.node)
    CHANGES[what](siege)

    assert hash_ != state_hash(siege.node)
    assert changes(before, state(siege.node))


def test_a_counter_is_not_seen() -> None:
    siege = Siege()
    before = state_hash(siege.node)
    siege.link.forgeries += 1
    siege.link.outgoing.own_bytes += 1

    assert before == state_hash(siege.node)


def test_a_session_is_not_seen_by_who_leaves_it_out() -> None:
    siege = Siege()
    before = [state_hash(siege.node, without=SESSION), state_hash(siege.node)]
    siege.link.greeting.refused = "why"
    after = [state_hash(siege.node, without=SESSION), state_hash(siege.node)]

    assert before[0] == after[0]
    assert before[1] != after[1]
