"""The node's side of the device port, as tests see it."""

from collections.abc import Callable
from uuid import UUID

import attrs
import trio

from kms.domain.secret import Secret
from kms.ports.device import DeviceBlock


@attrs.frozen
class Room:
    size_bytes: int


@attrs.frozen
class Block:
    block_id: UUID
    bits: bytes = attrs.field(repr=False)
    origin: str
    qber: float | None


@attrs.frozen
class Up:
    pass


@attrs.frozen
class Down:
    fault: str


Happening = Room | Block | Up | Down


class RecordingIntake:
    """Takes what it is given and writes the story down. ``fill`` makes it full."""

    def __init__(self) -> None:
        self.story: list[Happening] = []
        self._changed = trio.Event()
        self._full = False

    # ---- what the adapter calls

    async def room(self, size_bytes: int) -> None:
        self._tell(Room(size_bytes))
        while self._full:
            await self._changed.wait()
        await trio.lowlevel.checkpoint()

    async def block(self, block: DeviceBlock) -> None:
        self._tell(
            Block(
                block_id=block.block_id,
                bits=bytes(block.bits.expose()),
                origin=block.origin,
                qber=block.qber,
            )
        )
        assert isinstance(block.bits, Secret)
        block.bits.wipe()
        await trio.lowlevel.checkpoint()

    def up(self) -> None:
        self._tell(Up())

    def down(self, fault: str, reason: str) -> None:
        assert reason, "a fault without a reason"
        self._tell(Down(fault))

    # ---- what the test calls

    @property
    def blocks(self) -> list[Block]:
        return [each for each in self.story if isinstance(each, Block)]

    @property
    def faults(self) -> list[str]:
        return [each.fault for each in self.story if isinstance(each, Down)]

    def fill(self) -> None:
        self._full = True

    def drain(self) -> None:
        self._full = False
        self._wake()

    async def until(self, met: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
        """Returns once ``met``; the story so far is the failure's text."""
        with trio.move_on_after(timeout_s):
            while not met():
                # What is waited for may also change without a word to the intake.
                with trio.move_on_after(timeout_s / 1000):
                    await self._changed.wait()
        assert met(), f"it never came to it: {self.story[-20:]}"

    async def until_blocks(self, count: int, *, timeout_s: float = 10.0) -> list[Block]:
        await self.until(lambda: len(self.blocks) >= count, timeout_s=timeout_s)
        return self.blocks[:count]

    def _tell(self, happening: Happening) -> None:
        self.story.append(happening)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
