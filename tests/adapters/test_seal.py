"""The key file: what it keeps, what it refuses, and what a crash leaves of it."""

import contextlib
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from kms.adapters import seal
from kms.adapters.seal import WEAK, WRAPPED_BYTES, FileSealer
from kms.domain.errors import LocalFault, StoreFault
from kms.domain.secret import Secret

PASSPHRASE = Secret(b"correct horse")
KEY = Secret(bytes(range(32)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    FileSealer.create(tmp_path / "keys", PASSPHRASE, cost=WEAK)
    return tmp_path / "keys"


async def opened(path: Path, passphrase: Secret = PASSPHRASE) -> FileSealer:
    sealer = FileSealer(path)
    await sealer.unseal(passphrase)
    return sealer


async def test_what_was_wrapped_opens_after_a_restart(path: Path) -> None:
    wrapped = (await opened(path)).wrap(KEY, b"here")

    assert KEY == (await opened(path)).unwrap(wrapped, b"here")
    assert len(wrapped) == WRAPPED_BYTES


async def test_a_rotation_is_there_after_a_restart(path: Path) -> None:
    sealer = await opened(path)
    wrapped = sealer.wrap(KEY, b"here")
    await sealer.rotate()
    again = await opened(path)

    assert again.epoch == 2
    assert KEY == again.unwrap(wrapped, b"here")


async def test_a_retired_key_is_in_no_file(path: Path) -> None:
    sealer = await opened(path)
    old = json.loads(path.read_bytes())["keys"]["1"]
    hard_link = path.with_name("the file that was replaced")
    hard_link.hardlink_to(path)
    await sealer.rotate()
    replaced = hard_link.read_bytes()
    await sealer.retire(2)
    files = [each for each in path.parent.iterdir() if each != hard_link]

    assert not any(replaced), "the replaced file was overwritten, not only unlinked"
    assert files == [path]
    assert old.encode() not in path.read_bytes()
    with pytest.raises(StoreFault):
        (await opened(path)).unwrap(bytes(WRAPPED_BYTES), b"here")


async def test_the_file_is_the_owners_alone_and_shows_no_key(path: Path) -> None:
    sealer = await opened(path)
    await sealer.rotate()
    assert sealer._open is not None
    image = path.read_bytes()
    keys = [bytes(key.expose()) for key in sealer._open.keys.values()]
    keys.append(bytes(sealer._open.kek.expose()))

    assert path.stat().st_mode & 0o777 == 0o600
    for key in keys:
        assert key not in image
        assert key.hex().encode() not in image
    assert bytes(PASSPHRASE.expose()) not in image


async def test_a_wrong_passphrase_is_told_from_a_damaged_file(path: Path) -> None:
    sealer = FileSealer(path)
    with pytest.raises(LocalFault, match="passphrase is wrong"):
        await sealer.unseal(Secret(b"battery staple"))
    assert sealer.sealed

    image = path.read_bytes()
    for at in range(0, len(image), 5):
        path.write_bytes(image[:at] + bytes([image[at] ^ 1]) + image[at + 1 :])
        with pytest.raises(LocalFault, match="damaged"):
            await sealer.unseal(PASSPHRASE)
    for cut in (0, 1, len(image) // 2, len(image) - 1):
        path.write_bytes(image[:cut])
        with pytest.raises(LocalFault, match="damaged"):
            await sealer.unseal(PASSPHRASE)

    assert sealer.sealed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_bytes", 1 << 62),
        ("memory_bytes", 1),
        ("passes", 1 << 40),
        ("passes", 0),
        ("salt", ""),
        ("keys", {}),
        ("keys", {"0": "AAAA"}),
        ("keys", {"99999999999": "AAAA"}),
        ("format", "kms epoch keys 2"),
    ],
)
async def test_a_hostile_file_is_refused_before_its_cost_is_paid(
    path: Path, field: str, value: object
) -> None:
    content = json.loads(path.read_bytes())
    content[field] = value
    file = None
    with contextlib.suppress(msgspec.MsgspecError):
        file = msgspec.json.decode(json.dumps(content), type=seal._KeyFile)
        file.digest = file.digest_now()
    path.write_bytes(msgspec.json.encode(file) if file else json.dumps(content).encode())
    with pytest.raises(LocalFault, match="damaged"):
        await FileSealer(path).unseal(PASSPHRASE)


async def test_a_file_without_end_is_refused(path: Path) -> None:
    path.write_bytes(b"[" * 2_000_000)
    with pytest.raises(LocalFault, match="damaged"):
        await FileSealer(path).unseal(PASSPHRASE)


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalFault, match="nowhere"):
        await FileSealer(tmp_path / "nowhere").unseal(PASSPHRASE)


def test_a_key_file_is_never_made_over_another(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(LocalFault, match="there already"):
        FileSealer.create(path, PASSPHRASE, cost=WEAK)

    assert before == path.read_bytes()


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalFault, match="empty"):
        FileSealer.create(tmp_path / "keys", Secret(b""), cost=WEAK)

    assert not (tmp_path / "keys").exists()


async def test_a_replacement_that_a_crash_left_behind_is_overwritten(path: Path) -> None:
    """The crash came before the rename: the old file counts, the new one is wiped and gone."""
    sealer = await opened(path)
    shutil.copy(path, path.with_name("keys.new"))
    hard_link = path.with_name("left behind")
    hard_link.hardlink_to(path.with_name("keys.new"))
    await sealer.rotate()

    assert not any(hard_link.read_bytes())
    assert not path.with_name("keys.new").exists()
    assert (await opened(path)).epoch == 2


async def test_a_key_file_that_cannot_be_written_leaves_the_epoch_as_it_was(path: Path) -> None:
    sealer = await opened(path)
    before = path.read_bytes()
    path.with_name("keys.new").mkdir()  # in the way
    with pytest.raises(LocalFault, match="cannot be written"):
        await sealer.rotate()

    assert sealer.epoch == 1
    assert before == path.read_bytes()


async def test_a_changed_passphrase_is_the_only_one(path: Path) -> None:
    sealer = await opened(path)
    wrapped = sealer.wrap(KEY, b"here")
    new = Secret(b"battery staple")
    await sealer.change_passphrase(new, cost=WEAK)

    assert KEY == (await opened(path, new)).unwrap(wrapped, b"here")
    with pytest.raises(LocalFault, match="wrong"):
        await opened(path)
    assert await sealer.rotate() == 2
    assert (await opened(path, new)).epoch == 2


async def test_unsealing_twice_checks_and_changes_nothing(path: Path) -> None:
    sealer = await opened(path)
    with pytest.raises(LocalFault, match="wrong"):
        await sealer.unseal(Secret(b"x"))
    await sealer.unseal(PASSPHRASE)

    assert (sealer.sealed, sealer.epoch) == (False, 1)


async def test_sealing_wipes_the_keys(path: Path) -> None:
    sealer = await opened(path)
    assert sealer._open is not None
    keys = [*sealer._open.keys.values(), sealer._open.kek]
    sealer.seal()

    assert sealer.sealed
    assert not any(any(key.expose()) for key in keys)


async def test_epochs_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "EPOCHS_MAX", 3)
    sealer = await opened(path)
    await sealer.rotate()
    await sealer.rotate()
    with pytest.raises(LocalFault, match="epochs"):
        await sealer.rotate()
    await sealer.retire(3)

    assert await sealer.rotate() == 4
