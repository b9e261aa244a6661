"""What can go wrong, as data: one class a kind, one line of a playbook an instance.

Rules: a fault says when (``at_ms``), where, and everything else it needs; ``happen`` makes it so.
``kinds`` are the names that are counted, once it really happened. Nothing here draws lots but
``drawn``, which is how a plan makes one.
"""

from kms.simulation.faults.clocks import CLOCKS
from kms.simulation.faults.devices import DEVICES
from kms.simulation.faults.disks import DISKS
from kms.simulation.faults.entropy import ENTROPY
from kms.simulation.faults.fault import Fault
from kms.simulation.faults.processes import PROCESSES
from kms.simulation.faults.revocations import REVOCATIONS
from kms.simulation.faults.wires import WIRES

ALL: tuple[type[Fault], ...] = (
    *WIRES,
    *PROCESSES,
    *DISKS,
    *CLOCKS,
    *ENTROPY,
    *DEVICES,
    *REVOCATIONS,
)
"""every kind"""

__all__ = ["ALL", "Fault"]
