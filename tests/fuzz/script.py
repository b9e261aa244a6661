"""An input as a script: steps of one operation and some bytes each.

A fuzzer that had to find a right MAC, or thousands of right bytes of key, would find nothing
behind them. So an input says *what* is done, and the target makes the right frame around it.
"""

from collections.abc import Iterable, Iterator

# Steps of one input: more would only be slower.
STEPS_MAX = 16


def steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each step is an operation's octet, a length of two, and so many octets (or what is left)."""
    at = 0
    for _ in range(STEPS_MAX):
        if at + 3 > len(data):
            return
        length = int.from_bytes(data[at + 1 : at + 3], "big")
        yield data[at], data[at + 3 : at + 3 + length]
        at += 3 + length


def scripted(done: Iterable[tuple[int, bytes]]) -> bytes:
    """The input that means these steps."""
    return b"".join(
        bytes([operation]) + len(content).to_bytes(2, "big") + content
        for operation, content in done
    )
