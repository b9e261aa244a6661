"""Everything a device can be at fault for, by a name that logs, metrics and alarms keep using."""

from typing import Final

from kms.domain.errors import DeviceFault

FAULTS: Final = {
    "refused": "check that the device is on, its address, and its certificate",
    "silent": "the device answers too slowly or not at all; look at its own log",
    "cut": "the device hung up inside an exchange; look at its own log",
    "garbage": "what answers at this address does not speak ETSI GS QKD 004 in binary form",
    "oversized": "the device announces more than it was asked for; check key_chunk_size",
    "wrong-version": "the device speaks another edition; the header must say 2.1.1",
    "wrong-service": "the device answers another question than the one asked",
    "wrong-length": "keys of another length than agreed; set the device's key_chunk_size",
    "wrong-ksid": "the device opened another stream; set the same ksid here and at the device",
    "wrong-index": "the device keeps sending keys that it has sent before",
    "bad-status": "the device answers a status that the question cannot have",
    "bad-metadata": "the metadata is not what docs/writing-a-device-adapter.md describes",
    "qber-invalid": "a quantum bit error ratio is a number from 0 to 0.5",
    "repeated-bits": "the device repeats its bits or gives zeros: take it out of service",
    "error-reply": "the device could not read the request",
    "no-qkd-connection": "the device has no quantum link to its peer device",
    "peer-not-connected": "the device waits for the other end to open the stream",
    "ksid-in-use": "somebody else has opened this stream at the device",
    "qos-not-met": "the device offers another quality of service; set key_chunk_size to it",
    "device-timeout": "the device could not open the stream in time",
}
"""name: what the operator does about it"""

DUPLICATE: Final = "duplicate"
EMPTY: Final = "empty"
INCOMPLETE_GROUP: Final = "incomplete-group"
"""Counted beside the faults; none of them takes the device down."""


# A reason may quote a word of the device's: enough of it to recognise.
REASON_LENGTH_MAX: Final = 200


def device_fault(name: str, reason: str) -> DeviceFault:
    """The fault of that name, with its hint."""
    return DeviceFault(name, reason[:REASON_LENGTH_MAX], hint=FAULTS[name])
