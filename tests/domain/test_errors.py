"""An error says whose fault it is, by its class."""

import pytest

from kms.domain.errors import DeviceFault, KMSError, Sealed
from kms.domain.status import Status


def test_a_fault_of_nobody_is_not_raised() -> None:
    with pytest.raises(TypeError, match="raise LocalFault, PeerFault, AppFault or DeviceFault"):
        KMSError("something is wrong", hint="look")


def test_a_devices_fault_has_a_stable_name_beside_its_reason() -> None:
    fault = DeviceFault("qber", "QBER 0.2", hint="look at the fibre")

    assert (fault.name, fault.reason, fault.hint) == ("qber", "QBER 0.2", "look at the fibre")
    assert fault.status is None


def test_a_sealed_node_says_how_it_is_opened() -> None:
    assert Sealed().hint == "run: kms unseal NODE.toml"


def test_every_status_is_a_number_of_004() -> None:
    assert list(range(len(Status))) == sorted(status.value for status in Status)
