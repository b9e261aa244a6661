"""What every sealer adapter must do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kms.adapters.memory.sealer import MemorySealer
from kms.adapters.seal import WEAK, FileSealer
from kms.domain.errors import LocalFault, Sealed, StoreFault
from kms.domain.secret import Secret
from kms.ports.sealer import Sealer

PASSPHRASE = Secret(b"correct horse")
KEY = Secret(bytes(range(32)))


def _memory(path: Path) -> Sealer:
    return MemorySealer(PASSPHRASE)


def _file(path: Path) -> Sealer:
    FileSealer.create(path / "keys", PASSPHRASE, cost=WEAK)
    return FileSealer(path / "keys")


@pytest.fixture(params=[_memory, _file], ids=["memory", "file"])
def sealer(request: pytest.FixtureRequest, tmp_path: Path) -> Sealer:
    """A sealer that starts sealed."""
    make: Callable[[Path], Sealer] = request.param
    return make(tmp_path)


async def test_it_starts_sealed_and_refuses(sealer: Sealer) -> None:
    assert (True, 0) == (sealer.sealed, sealer.epoch)
    with pytest.raises(Sealed):
        sealer.wrap(KEY, b"here")
    with pytest.raises(Sealed):
        sealer.unwrap(bytes(76), b"here")
    with pytest.raises(Sealed):
        await sealer.rotate()
    with pytest.raises(Sealed):
        await sealer.retire(1)


async def test_a_wrong_passphrase_changes_nothing(sealer: Sealer) -> None:
    for wrong in (b"", b"correct horsf", b"correct horse "):
        with pytest.raises(LocalFault):
            await sealer.unseal(Secret(wrong))

    assert (True, 0) == (sealer.sealed, sealer.epoch)


async def test_a_wrapped_key_comes_back(sealer: Sealer) -> None:
    await sealer.unseal(PASSPHRASE)

    assert KEY == sealer.unwrap(sealer.wrap(KEY, b"here"), b"here")
    assert (False, 1) == (sealer.sealed, sealer.epoch)


async def test_wrapped_keys_have_one_length_and_never_repeat(sealer: Sealer) -> None:
    await sealer.unseal(PASSPHRASE)
    wrapped = [sealer.wrap(KEY, b"here" * n) for n in range(20)] + [sealer.wrap(KEY, b"")]

    assert 21 == len(set(wrapped))
    assert 1 == len({len(each) for each in wrapped})
    assert not any(bytes(KEY.expose()) in each for each in wrapped)


async def test_a_wrapped_key_opens_in_its_context_only(sealer: Sealer) -> None:
    await sealer.unseal(PASSPHRASE)
    wrapped = sealer.wrap(KEY, b"unit 1")

    for context in (b"unit 2", b"", b"unit 1\0"):
        with pytest.raises(StoreFault):
            sealer.unwrap(wrapped, context)


async def test_every_altered_byte_is_refused(sealer: Sealer) -> None:
    await sealer.unseal(PASSPHRASE)
    wrapped = sealer.wrap(KEY, b"here")

    for at in range(len(wrapped)):
        altered = bytearray(wrapped)
        altered[at] ^= 1
        with pytest.raises(StoreFault):
            sealer.unwrap(bytes(altered), b"here")
    for cut in (b"", wrapped[:-1], wrapped + b"\0", wrapped[:4], wrapped[:20]):
        with pytest.raises(StoreFault):
            sealer.unwrap(cut, b"here")


async def test_a_rotation_wraps_anew_and_still_opens_the_old(sealer: Sealer) -> None:
    await sealer.unseal(PASSPHRASE)
    old = sealer.wrap(KEY, b"here")

    assert 2 == await sealer.rotate()
    assert 2 == sealer.epoch
    assert KEY == sealer.unwrap(old, b"here")
    assert KEY == sealer.unwrap(sealer.wrap(KEY, b"here"), b"here")


async def test_a_retired_epoch_opens_nothing(sealer: Sealer) -> None:
    await sealer.unseal(PASSPHRASE)
    old = sealer.wrap(KEY, b"here")
    await sealer.rotate()
    new = sealer.wrap(KEY, b"here")
    await sealer.retire(2)

    assert KEY == sealer.unwrap(new, b"here")
    with pytest.raises(StoreFault):
        sealer.unwrap(old, b"here")


async def test_the_current_epoch_is_never_retired(sealer: Sealer) -> None:
    await sealer.unseal(PASSPHRASE)
    wrapped = sealer.wrap(KEY, b"here")
    await sealer.retire(99)

    assert KEY == sealer.unwrap(wrapped, b"here")
