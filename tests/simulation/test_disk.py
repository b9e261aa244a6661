"""The simulated disk: one transaction or none, and every way a disk can fail."""

import pytest

from kms.domain.effects import Forget, Save, StoreMaterial, WipeMaterial
from kms.domain.names import MaterialId, NodeId
from kms.domain.records import NodeRecord
from kms.domain.secret import Secret
from kms.simulation.disk import Disk, DiskError, Health, key

PAD = MaterialId("pads/1")


def stored() -> Disk:
    disk = Disk()
    disk.commit([StoreMaterial(material=PAD, bits=Secret(bytearray(b"abcdefgh")), unit_bytes=4)])
    return disk


def text(disk: Disk, offset: int, length: int) -> bytes | None:
    bits = disk.read(PAD, offset, length)
    return None if bits is None else bytes(bits.expose())


def test_a_wiped_byte_takes_the_whole_read_with_it_and_leaves_the_rest() -> None:
    disk = stored()
    disk.commit([WipeMaterial(material=PAD, offset=2, length=2)])

    assert text(disk, 0, 2) == b"ab"
    assert text(disk, 4, 4) == b"efgh"
    assert text(disk, 1, 2) is None
    assert disk.live[PAD] == 6


def test_bytes_wiped_twice_are_counted_once_and_the_last_one_frees_the_room() -> None:
    disk = stored()
    for _ in range(2):
        disk.commit([WipeMaterial(material=PAD, offset=0, length=8)])

    assert disk.live[PAD] == 0
    assert disk.material[PAD] == b""
    assert text(disk, 0, 1) is None


def test_an_unknown_material_is_no_error_to_wipe() -> None:
    disk = Disk()
    disk.commit([WipeMaterial(material=PAD, offset=0, length=8)])

    assert disk.live == {}


@pytest.mark.parametrize(
    ("health", "there", "kind"),
    [
        (Health.FULL, False, "full disk"),
        (Health.EIO_DONE, True, "EIO"),
        (Health.EIO_LOST, False, "EIO"),
    ],
)
def test_a_failed_commit_is_there_whole_or_not_at_all(
    health: Health, there: bool, kind: str
) -> None:
    disk = Disk()
    disk.health = health
    record = NodeRecord(node=NodeId("alice"), boot=1)
    bits = Secret(bytearray(b"abcd"))
    with pytest.raises(DiskError, match=kind):
        disk.commit([Save(record), StoreMaterial(material=PAD, bits=bits, unit_bytes=4)])

    assert there == (key(record) in disk.records)
    assert there == (PAD in disk.material)


def test_a_backup_has_every_record_and_nothing_that_opens_while_a_clone_has_all() -> None:
    disk = stored()
    record = NodeRecord(node=NodeId("alice"), boot=1)
    disk.commit([Save(record)])
    backup, clone = disk.without_slots(), disk.copy()
    disk.commit([Forget(record), WipeMaterial(material=PAD, offset=0, length=8)])

    assert key(record) not in disk.records
    assert key(record) in backup.records
    assert text(backup, 0, 8) is None
    assert text(clone, 0, 8) == b"abcdefgh"
