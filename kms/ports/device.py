"""Device: a QKD module or any other source of blocks, southbound (FR-1)."""

from typing import Never, Protocol

import attrs

from kms.domain.names import BlockId, DeviceId
from kms.domain.secret import Secret


@attrs.frozen(kw_only=True)
class DeviceBlock:
    """Bits that the device pair made, under an id that is the same at both ends."""

    block_id: BlockId
    bits: Secret
    """``BLOCK_BYTES_MIN`` to ``BLOCK_BYTES_MAX``"""
    origin: str = "quantum"
    """quantum, post-quantum or classical"""
    qber: float | None = None
    """quantum bit error ratio of the block, 0 to 0.5, if the device says"""
    age_ms: int = 0
    """how long the device had it"""


class Intake(Protocol):
    """What the node offers a device adapter."""

    async def room(self, size_bytes: int) -> None:
        """Returns when a block of this size would be taken: back-pressure. Never fetch before.
        Cancellation: nothing is reserved."""
        ...

    async def block(self, block: DeviceBlock) -> None:
        """The block is durable, or was refused for a reason the node logged (a duplicate, an
        alarm). Either way the adapter goes on. The node owns ``bits`` from the call on. An
        adapter may have a few calls under way at once, each after ``room`` of its own."""
        ...

    def up(self) -> None:
        """The device answers."""
        ...

    def down(self, fault: str, reason: str) -> None:
        """The device is lost or at fault; ``fault`` is the stable name of a ``DeviceFault``."""
        ...


@attrs.frozen(kw_only=True)
class DeviceStatistics:
    """What a device adapter has seen since the start."""

    device: DeviceId
    connected: bool
    blocks: int
    bytes: int
    connects: int
    faults: dict[str, int]
    """by fault name"""


class Device(Protocol):
    """One local device end."""

    @property
    def device_id(self) -> DeviceId: ...

    async def run(self, intake: Intake) -> Never:
        """Feeds the intake until cancelled. Whatever the device does, this reconnects with
        jittered back-off and names the fault; it never raises for the device's fault."""
        ...

    def statistics(self) -> DeviceStatistics: ...
