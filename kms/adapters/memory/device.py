"""A device in memory: hands over what a script says, and fails when it says so."""

from collections import Counter
from collections.abc import Sequence
from typing import Never

import trio

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
        self._connected = False
        self._blocks = self._bytes = self._connects = 0
        self._faults: Counter[str] = Counter()

    @property
    def device_id(self) -> DeviceId:
        return self._device_id

    def statistics(self) -> DeviceStatistics:
        return DeviceStatistics(
            device=self._device_id,
            connected=self._connected,
            blocks=self._blocks,
            bytes=self._bytes,
            connects=self._connects,
            faults=dict(self._faults),
        )

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
            self._connect(intake)
            await trio.sleep_forever()
        finally:
            self._connected = False

    def _connect(self, intake: Intake) -> None:
        if not self._connected:
            self._connected = True
            self._connects += 1
            intake.up()

    async def _fail(self, intake: Intake, fault: DeviceFault) -> None:
        self._connected = False
        self._faults[fault.name] += 1
        intake.down(fault.name, fault.reason)
        await trio.sleep(RECONNECT_S)

    async def _hand_over(self, intake: Intake, block: DeviceBlock) -> None:
        self._connect(intake)
        size = len(block.bits)
        await intake.room(size)
        # Given once, even if the giving is cancelled: the node owns the bits from the call on.
        self._played += 1
        await intake.block(block)
        self._blocks += 1
        self._bytes += size
