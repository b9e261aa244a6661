"""The device handler's counter: where device adapters hand their blocks in (FR-1)."""

import trio

from kms.domain.events import BlockArrived, DeviceChanged
from kms.domain.names import DeviceId, LinkId
from kms.ports.device import DeviceBlock
from kms.shell.pump import Pump


class NodeIntake:
    """Implements ``ports.device.Intake`` for one device of one link."""

    def __init__(self, pump: Pump, device: DeviceId, link: LinkId) -> None:
        self._pump, self._device, self._link = pump, device, link

    async def room(self, size_bytes: int) -> None:
        await trio.lowlevel.checkpoint()
        await self._pump.until(lambda: self._pump.node.room(self._link, size_bytes))

    async def block(self, block: DeviceBlock) -> None:
        stored = self._pump.expect_stored(self._device, block.block_id)
        try:
            await self._pump.put(
                BlockArrived(
                    device=self._device,
                    link=self._link,
                    block_id=block.block_id,
                    bits=block.bits,
                    origin=block.origin,
                    qber=block.qber,
                    age_ms=block.age_ms,
                )
            )
            await stored.wait()
        finally:
            self._pump.forget_stored(self._device, block.block_id, stored)

    def up(self) -> None:
        self._pump.put_soon(DeviceChanged(device=self._device, link=self._link))

    def down(self, fault: str, reason: str) -> None:
        self._pump.put_soon(
            DeviceChanged(device=self._device, link=self._link, fault=fault, reason=reason)
        )
