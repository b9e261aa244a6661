"""An example to start from: a device that drops each block as a file into a directory.

The file's name is the block's UUID with ``.key``; its whole content is the block. Writing under
another name first and renaming makes it whole at once. Everything the node needs of a device is in
``run``: ask for room, fetch, hand over, name the fault, go on. docs/writing-a-device-adapter.md
walks through it.
"""

from collections import Counter
from pathlib import Path
from typing import Never

import trio

from kms.domain import limits, names
from kms.domain.errors import BadName, DeviceFault
from kms.domain.names import DeviceId
from kms.domain.secret import Secret
from kms.ports.device import DeviceBlock, DeviceStatistics, Intake


class DirectoryDevice:
    """A ``Device`` (ports/device.py) whose hardware is a directory."""

    def __init__(self, device_id: DeviceId, directory: Path, *, poll_s: float = 1.0) -> None:
        self._device_id, self._directory, self._poll_s = device_id, directory, poll_s
        self._connected, self._reported = False, ""
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
        try:
            while True:
                await self._look(intake)
                await trio.sleep(self._poll_s)
        finally:
            self._connected = False

    async def _look(self, intake: Intake) -> None:
        try:
            for path in sorted(self._directory.iterdir()):
                if path.suffix == ".key":
                    await self._hand_over(intake, path)
            self._up(intake)
        except DeviceFault as fault:
            self._down(intake, fault)
        except OSError as error:
            reason = error.strerror or "unreadable"
            self._down(intake, DeviceFault("refused", reason, hint="check the directory"))

    async def _hand_over(self, intake: Intake, path: Path) -> None:
        size = path.stat().st_size
        if not limits.BLOCK_BYTES_MIN <= size <= limits.BLOCK_BYTES_MAX:
            raise self._set_aside(path, "wrong-length", f"a file of {size} B")
        try:
            block_id = names.block_id(path.stem)
        except BadName as error:
            raise self._set_aside(path, "bad-metadata", error.reason) from None
        self._up(intake)
        await intake.room(size)
        bits = bytearray(size)
        with path.open("rb", buffering=0) as file:
            file.readinto(bits)
        # Before it is handed over: a crash in between loses the block, which is safe. The other
        # order could bring it a second time, after both nodes have used it.
        path.unlink()
        await intake.block(DeviceBlock(block_id=block_id, bits=Secret.adopt(bits)))
        self._blocks += 1
        self._bytes += size

    def _set_aside(self, path: Path, fault: str, reason: str) -> DeviceFault:
        path.rename(path.with_suffix(".bad"))
        return DeviceFault(fault, reason, hint=f"look at the .bad files in {self._directory}")

    def _up(self, intake: Intake) -> None:
        if not self._connected:
            self._connected = True
            self._connects += 1
            self._reported = ""
            intake.up()

    def _down(self, intake: Intake, fault: DeviceFault) -> None:
        self._faults[fault.name] += 1
        # A device that is off for a month is one event, not one for each look.
        if self._connected or fault.name != self._reported:
            intake.down(fault.name, fault.reason)
        self._connected, self._reported = False, fault.name
