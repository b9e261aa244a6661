"""What every device adapter counts and tells the same way: up, down, blocks, faults."""

from collections import Counter

from kms.domain.errors import DeviceFault
from kms.domain.names import DeviceId
from kms.ports.device import DeviceStatistics, Intake


class DeviceReport:
    """One device's figures. The intake hears of a change only, so that a device that is off for a
    month is one event, not one for each attempt."""

    def __init__(self, device_id: DeviceId) -> None:
        self.device_id = device_id
        self.connected = False
        self.faults: Counter[str] = Counter()
        self._blocks = self._bytes = self._connects = 0
        self._told = ""
        """the fault that the node knows of; empty while the device is up"""

    def up(self, intake: Intake) -> None:
        """The device answers."""
        if not self.connected:
            self.connected, self._told = True, ""
            self._connects += 1
            intake.up()

    def down(self, intake: Intake, fault: DeviceFault) -> None:
        """The device is lost or at fault."""
        self.faults[fault.name] += 1
        if self.connected or fault.name != self._told:
            intake.down(fault.name, fault.reason)
        self.connected, self._told = False, fault.name

    def handed_over(self, size_bytes: int) -> None:
        """One block more is the node's."""
        self._blocks += 1
        self._bytes += size_bytes

    def statistics(self) -> DeviceStatistics:
        return DeviceStatistics(
            device=self.device_id,
            connected=self.connected,
            blocks=self._blocks,
            bytes=self._bytes,
            connects=self._connects,
            faults=dict(+self.faults),
        )
