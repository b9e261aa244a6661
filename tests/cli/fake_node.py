"""A node that an operator can talk to: canned status, commands written down."""

from uuid import UUID

import attrs

from kms.domain.audit import GENESIS
from kms.domain.errors import LocalFault
from kms.domain.names import KSID, DeviceId, LinkId, NodeId, SAEId
from kms.domain.orders import Act, KeyOrder, OrderDone
from kms.domain.records import Way
from kms.domain.secret import Secret
from kms.domain.statistics import (
    AlarmStatus,
    DeviceStatus,
    Latencies,
    LinkStatus,
    NodeState,
    NodeStatus,
    PadStatus,
    ServiceStatus,
    StoreStatus,
    StreamStatus,
)
from kms.ports.admin import CarriedSecret

LINK = LinkId("A~B")


def latencies() -> Latencies:
    """99 answers within 2 ms, one after a minute."""
    made = Latencies()
    for _ in range(99):
        made.observe(1.5)
    made.observe(61_000.0)
    return made


SERVICE = ServiceStatus(
    throughput_bps=12_800.0,
    keys_total=32,
    bytes_total=1024,
    delay_ms_mean=3.5,
    delay_ms_max=20,
    variation_ms=1.25,
    errors_total=1,
    error_ratio=0.025,
    losses_total=7,
    loss_ratio=0.175,
    availability=0.99,
    outages_total=2,
    outage_ms_max=4_000,
)
STATUS = NodeStatus(
    node=NodeId("A"),
    version="0",
    state=NodeState.READY,
    why=(),
    uptime_s=90061.0,
    links=(
        LinkStatus(
            link=LINK,
            peer=NodeId("B"),
            state="open",
            epoch=3,
            connected=True,
            up=True,
            rate_in_bps=10_100.0,
            outgoing=PadStatus(mark=1000, granted=2024, end=10_240_000 + 1000),
            incoming=PadStatus(mark=0, granted=512, end=2048),
            reserve_bytes=8192,
            own_frames_total=7,
            own_pad_bytes_total=700,
            burnt_bytes_total=64,
            promised_bps=9_152,
            service=SERVICE,
            delays=latencies().statistics(),
        ),
    ),
    streams=(
        StreamStatus(
            ksid=KSID(UUID("6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c")),
            link=LINK,
            local=SAEId("sae:camera.A"),
            remote=SAEId("sae:camera.B"),
            state="open",
            next_index=40,
            ready=8,
            delivered=32,
            waiting=1,
            promised_bps=8_000,
            priority=3,
            service=SERVICE,
        ),
    ),
    streams_open=2,
    devices=(
        DeviceStatus(
            device=DeviceId("qkd-1"),
            link=LINK,
            connected=False,
            blocks_total=5,
            bytes_total=5 * 65536,
            connects_total=2,
            fault="silent",
            faults_total={"silent": 3},
        ),
    ),
    alarms=(AlarmStatus(kind="qber", link=LINK, detail="0.12 [of] 0.11", since_ms=1),),
    store=StoreStatus(
        commits_total=9, writes_total=10, material_bytes=2048, slots_live=4, file_bytes=4096
    ),
    get_key=latencies().statistics(),
    journal_number=12,
    journal_hash=GENESIS,
    counters={"keys_delivered_total": 32},
)


class FakeNode:
    """The Admin port; ``told`` is what the operator commanded."""

    def __init__(self) -> None:
        self.shown = STATUS
        self.told: list[object] = []
        self.refuses = False

    def show(self, state: NodeState, *why: str) -> None:
        self.shown = attrs.evolve(STATUS, state=state, why=why)

    def status(self) -> NodeStatus:
        return self.shown

    async def unseal(self, passphrase: Secret) -> None:
        self._note(("unseal", bytes(passphrase.expose())))
        if passphrase != Secret(b"correct horse"):
            raise LocalFault("wrong passphrase", hint="try another")

    async def rekey(self) -> int:
        self._note("rekey")
        return 4

    async def add_link(
        self, peer: NodeId, address: str | None, secret: CarriedSecret | None
    ) -> None:
        self._note(("add", peer, address, secret and secret.secret_id))

    async def restart_link(self, secret: CarriedSecret) -> None:
        self._note(("restart", secret.nodes, secret.secret_id, len(secret.bits)))

    async def restore(self, way: Way) -> None:
        self._note(("restore", way))

    async def order_keys(self, order: KeyOrder) -> tuple[OrderDone, bool]:
        self._note(order)
        bundle = KSID(order.key_id) if order.key_id else None
        done = OrderDone(
            link=None if bundle else order.link or LINK,
            ksid=order.ksid,
            bundle=bundle,
            first=order.first,
            count=order.count,
            changed=True,
            waiting=3,
            delivered=2,
        )
        return done, order.act is not Act.COMPROMISE

    async def reload(self) -> tuple[str, ...]:
        self._note("reload")
        return ("2 applications more",)

    async def stop(self) -> None:
        self._note("stop")

    def _note(self, command: object) -> None:
        if self.refuses:
            raise LocalFault("the node is stopping", hint="start it again")
        self.told.append(command)
