"""A device in memory: hands over what a script says, and fails when it says so."""

from collections.abc import Sequence
from typing import Never

import trio

from kms.adapters.device_report import DeviceReport
from kms.domain.errors import DeviceFault
from kms.domain.names import DeviceId
from kms.ports.device import DeviceBlock, DeviceStatistics, Intake

# Before it connects again after a fault; under a test's clock this takes no time.
RECONNECT_S = 0.01


class ScriptedDevice:
    """A ``Device`` (ports/device.py) that plays its script once, then waits."""

    def __init__(self, device_id: DeviceId, script: Sequence[DeviceBlock | DeviceFault]) -> None:
        self._device_id = device_id
        self._script = tuple(script)
        self._played = 0
        self._report = DeviceReport(device_id)

    @property
    def device_id(self) -> DeviceId:
        return self._device_id

    def statistics(self) -> DeviceStatistics:
        return self._report.statistics()

    async def run(self, intake: Intake) -> Never:
        """Plays the rest of the script, each step once."""
        try:
            while self._played < len(self._script):
                step = self._script[self._played]
                if isinstance(step, DeviceFault):
                    self._played += 1
                    await self._fail(intake, step)
                else:
                    await self._hand_over(intake, step)
            self._report.up(intake)
            await trio.sleep_forever()
        finally:
            self._report.connected = False

    async def _fail(self, intake: Intake, fault: DeviceFault) -> None:
        self._report.down(intake, fault)
        await trio.sleep(RECONNECT_S)

    async def _hand_over(self, intake: Intake, block: DeviceBlock) -> None:
        self._report.up(intake)
        size = len(block.bits)
        await intake.room(size)
        # Given once, even if the giving is cancelled: the node owns the bits from the call on.
        self._played += 1
        await intake.block(block)
        self._report.handed_over(size)
