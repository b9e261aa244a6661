"""Which of the applications' interfaces listen, and that they stop together."""

from pathlib import Path

import pytest
import trio

from kms.adapters.identity import Identities
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.config import load
from kms.wiring.listeners import Fronts, Listeners
from tests.config.site import build
from tests.edge.authority import Authority
from tests.edge.support import FixedTLS

AUTHORITY = Authority()
AT_ANY_PORT = '[etsi004]\nlisten = "127.0.0.1:0"\n[etsi004_tls]\nlisten = "127.0.0.1:0"\n'


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", {"etsi004", "etsi004_tls"}),
        ("enabled = false\n", {"etsi004"}),
        ('[etsi014]\nlisten = "127.0.0.1:0"\n', {"etsi004", "etsi004_tls", "etsi014"}),
    ],
    ids=["by_default", "frames_switched_off", "with_keys_by_id"],
)
async def test_applications_are_served_where_the_configuration_says(
    tmp_path: Path, more: str, expected: set[str]
) -> None:
    path = build(tmp_path)
    path.write_text(AT_ANY_PORT + more + path.read_text())
    listeners = Listeners(load(path), Identities())
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            fronts: Fronts = await nursery.start(
                listeners.serve_applications,
                FixedTLS(AUTHORITY.server_context()),
                MemoryNorthbound(),
            )
            for address in listeners.addresses.values():
                host, _, port = address.rpartition(":")
                await trio.aclose_forcefully(await trio.open_tcp_stream(host, int(port)))
            fronts.stop()

    assert expected == set(listeners.addresses)
