"""Which adapter serves which type of device in the configuration.

A new kind of hardware is added here and in ``config.DEVICE_TYPES``
(docs/writing-a-device-adapter.md).
"""

import random
from collections.abc import Callable
from typing import Any

from kms.adapters.qkd_socket import QKDSocketConfig, QKDSocketDevice
from kms.adapters.tls import CurrentTLS
from kms.config import Config, DeviceSection, QKDSocketSection
from kms.domain.names import LinkId
from kms.ports.device import Device
from kms.wiring.trust import credentials


def devices_of(config: Config, jitter: random.Random) -> dict[LinkId, list[Device]]:
    """The node's devices, by the link they feed. Raises ``LocalFault`` for unusable files."""
    devices: dict[LinkId, list[Device]] = {}
    for section in config.device:
        link = config.link_of(section.link)
        devices.setdefault(link, []).append(_MAKERS[type(section)](section, jitter))
    return devices


def _qkd_socket(section: QKDSocketSection, jitter: random.Random) -> Device:
    tls = None
    if section.tls is not None:
        tls = CurrentTLS(credentials(section.tls)).client_context()
    return QKDSocketDevice(
        QKDSocketConfig(
            device_id=section.name,
            host=section.address.host,
            port=section.address.port,
            ksid=section.ksid,
            source=section.source,
            destination=section.destination,
            key_chunk_size=section.key_chunk_size,
            tls=tls,
        ),
        jitter=jitter,
    )


_MAKERS: dict[type[DeviceSection], Callable[[Any, random.Random], Device]] = {
    QKDSocketSection: _qkd_socket
}
"""By the class of fields that ``config.DEVICE_TYPES`` registers."""
