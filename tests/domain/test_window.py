"""A window against a naive model: a dictionary of offsets and bytes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain.secret import Secret
from kms.domain.window import Window

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 20), st.integers(0, 6)),
        st.tuples(st.just("take"), st.integers(1, 30), st.just(0)),
        st.tuples(st.just("advance"), st.integers(0, 25), st.just(0)),
        st.tuples(st.just("drop"), st.integers(0, 40), st.integers(0, 30)),
        st.tuples(st.just("peek"), st.integers(0, 40), st.integers(0, 30)),
        st.tuples(st.just("skip"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


class Model:
    """What a window is, without any cleverness."""

    def __init__(self) -> None:
        self.mark, self.bytes = 0, dict[int, int]()

    def run(self) -> int:
        if not self.bytes:
            return 0
        first = min(self.bytes)
        return next(n for n in range(len(self.bytes) + 1) if first + n not in self.bytes)

    def longest(self) -> int:
        best = 0
        for first in self.bytes:
            best = max(best, next(n for n in range(999) if first + n not in self.bytes))
        return best

    def advance(self, mark: int) -> None:
        self.mark = max(self.mark, mark)
        self.bytes = {at: bit for at, bit in self.bytes.items() if at >= self.mark}


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_a_window_gives_each_byte_once_and_in_order(actions: list[tuple[str, int, int]]) -> None:
    window, model, end, taken = Window(), Model(), 0, set[int]()
    for kind, one, two in actions:
        if kind == "add":
            start = end + two
            end = start + one
            bits = bytes((start + each) % 251 for each in range(one))
            window.add(start, Secret(bits))
            model.bytes.update(
                {start + i: b for i, b in enumerate(bits) if start + i >= model.mark}
            )
        elif kind == "take" and 0 < min(one, model.run()):
            length = min(one, model.run())
            offset, secret = window.take(length)
            expected = bytes(model.bytes[offset + each] for each in range(length))

            assert expected == bytes(secret.expose())
            assert not taken & set(range(offset, offset + length)), "I1"
            taken |= set(range(offset, offset + length))
            model.advance(offset + length)
        elif kind == "advance":
            window.advance(model.mark + one)
            model.advance(model.mark + one)
        elif kind == "drop":
            window.drop(one, one + two)
            model.bytes = {a: b for a, b in model.bytes.items() if not one <= a < one + two}
        elif kind == "skip" and model.bytes:
            window.skip_run()
            model.advance(min(model.bytes) + model.run())
        elif kind == "peek":
            found = window.peek(one, two)
            whole = all(one + each in model.bytes for each in range(two)) and one >= model.mark
            wanted = bytes(model.bytes[one + each] for each in range(two)) if whole else None

            assert wanted == (bytes(found.expose()) if found is not None else None)

        assert (model.mark, len(model.bytes), model.run(), model.longest()) == (
            window.mark,
            window.held,
            window.run(),
            window.longest_run(),
        )


def test_what_is_passed_is_zero_in_memory() -> None:
    window = Window()
    window.add(0, Secret(b"\xff" * 32))
    window.add(32, Secret(b"\xff" * 32))
    window.take(40)
    window.drop(50, 56)
    pieces = [bytes(piece.bits[: piece.first - piece.start]) for piece in window._pieces]

    assert all(not any(piece) for piece in pieces)
    assert 64 - 40 - 6 == window.held
