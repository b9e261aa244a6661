"""What leaves a site: the outputs of a batch, in order, once what it writes is durable.

Rules: an output happens at once, except that reading material takes its time. What is on the disk
by now (``DURABLE``) is passed over; an effect that no table here knows is our own mistake.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from kms.domain.effects import (
    Alarm,
    Answer,
    Attest,
    Audit,
    BlockStored,
    DeliverKey,
    DeliverKeys,
    Disconnect,
    Effect,
    Forget,
    Note,
    ReadMaterial,
    Refuse,
    Save,
    SendFrame,
    StoreMaterial,
    TakeMaterial,
    WipeMaterial,
)
from kms.domain.events import MaterialOpened

if TYPE_CHECKING:
    from kms.simulation.site import Site

# Reading material from the store.
READ_US: Final = 200
DURABLE: Final = frozenset({Save, Forget, StoreMaterial, WipeMaterial, Audit})
"""what a batch commits before anything of it leaves"""


def carry_out(site: "Site", effects: Iterable[Effect]) -> None:
    """All of it has left, unless the process ended on the way."""
    life = site.life
    for effect in effects:
        kind = type(effect)
        if kind in DURABLE:
            continue
        if isinstance(effect, Attest):
            site.witness = effect.attestation
            continue
        if life != site.life:
            return
        site.watch.output(site, effect)
        LEAVES[kind](site, effect)


def _send(site: "Site", effect: SendFrame) -> None:
    site.simulation.network.send(site, effect)


def _disconnect(site: "Site", effect: Disconnect) -> None:
    site.simulation.network.disconnect(site, effect.link, effect.session)


def _block_stored(site: "Site", effect: BlockStored) -> None:
    site.simulation.block_stored(site, effect)


def _alarm(site: "Site", effect: Alarm) -> None:
    site.alarms.append((effect.kind, effect.detail))


def _note(site: "Site", effect: Note) -> None:
    """Nobody reads the log of a simulated node."""


def _answer(site: "Site", effect: Answer) -> None:
    site.answer(effect.request_id, effect.reply)


def _refuse(site: "Site", effect: Refuse) -> None:
    site.answer(effect.request_id, effect)


def _deliver(site: "Site", effect: DeliverKey) -> None:
    def read() -> None:
        bits = site.disk.read(effect.material, effect.offset, effect.length)
        site.answer(effect.request_id, effect, bytes(bits.expose()) if bits is not None else None)

    site.later(READ_US, read)


def _deliver_keys(site: "Site", effect: DeliverKeys) -> None:
    def read() -> None:
        parts = [
            site.disk.read(each.material, each.offset, each.length) for each in effect.stretches
        ]
        bits = [bytes(each.expose()) for each in parts if each is not None]
        key = b"".join(bits) if len(bits) == len(parts) else None
        site.answer(effect.request_id, effect, key)

    site.later(READ_US, read)


def _open(site: "Site", effect: ReadMaterial | TakeMaterial) -> None:
    def read() -> None:
        material, offset, length = effect.material, effect.offset, effect.length
        bits = site.disk.read(material, offset, length)
        if type(effect) is TakeMaterial:
            site.disk.wipe(material, offset, length)
        reason = "" if bits else "gone"
        site.put(
            MaterialOpened(
                material=material, offset=offset, length=length, bits=bits, reason=reason
            )
        )

    site.later(READ_US, read)


LEAVES: Final[dict[type, Callable[["Site", Any], None]]] = {
    SendFrame: _send,
    Disconnect: _disconnect,
    BlockStored: _block_stored,
    Alarm: _alarm,
    Note: _note,
    Answer: _answer,
    Refuse: _refuse,
    DeliverKey: _deliver,
    DeliverKeys: _deliver_keys,
    ReadMaterial: _open,
    TakeMaterial: _open,
}
"""how each kind of output leaves"""
