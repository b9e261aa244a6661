"""An example to start from: a device that drops each block as ``<uuid>.key`` into a directory.

All that the node needs of a device is in ``run``: ask for room, fetch, hand over, name the fault,
go on (docs/writing-a-device-adapter.md walks through it).
"""

from pathlib import Path
from typing import Never

import trio

from kms.adapters.device_report import DeviceReport
from kms.domain import limits, names
from kms.domain.errors import BadName, DeviceFault
from kms.domain.names import DeviceId
from kms.domain.secret import Secret
from kms.ports.device import DeviceBlock, DeviceStatistics, Intake


class DirectoryDevice:
    """A ``Device`` (ports/device.py) whose hardware is a directory."""

    def __init__(self, device_id: DeviceId, directory: Path, *, poll_s: float = 1.0) -> None:
        self.device_id, self._directory, self._poll_s = device_id, directory, poll_s
        self._report = DeviceReport(device_id)

    def statistics(self) -> DeviceStatistics:
        return self._report.statistics()

    async def run(self, intake: Intake) -> Never:
        try:
            while True:
                try:
                    for path in sorted(self._directory.glob("*.key")):
                        await self._hand_over(intake, path)
                    self._report.up(intake)
                except (DeviceFault, BadName, OSError) as error:
                    self._report.down(intake, _named(error))
                await trio.sleep(self._poll_s)
        finally:
            self._report.connected = False

    async def _hand_over(self, intake: Intake, path: Path) -> None:
        size = path.stat().st_size
        try:
            block_id = names.block_id(path.stem)
            if not limits.BLOCK_BYTES_MIN <= size <= limits.BLOCK_BYTES_MAX:
                raise DeviceFault("wrong-length", f"a file of {size} B", hint="4 KiB to 4 MiB")
        except (BadName, DeviceFault):
            path.rename(path.with_suffix(".bad"))  # or it would be a fault for ever
            raise
        self._report.up(intake)
        await intake.room(size)
        bits = bytearray(path.read_bytes())
        # Before it is handed over: a crash in between loses the block, which is safe. The other
        # order could bring it a second time, after both nodes have used it.
        path.unlink()
        await intake.block(DeviceBlock(block_id=block_id, bits=Secret.adopt(bits)))
        self._report.handed_over(size)


def _named(error: Exception) -> DeviceFault:
    """The fault under a stable name, for logs, metrics and alarms."""
    if isinstance(error, DeviceFault):
        return error
    name = "bad-metadata" if isinstance(error, BadName) else "refused"
    return DeviceFault(name, str(error), hint="look at the directory of the device")
