"""The beginning of ``kms run``: hardened, hashing, and nothing written yet."""

from pathlib import Path

import pytest

from kms.adapters.seal import WEAK, FileSealer
from kms.domain.errors import LocalFault
from kms.domain.secret import Secret
from kms.wiring import beginning
from tests.config import site

PASSPHRASE = b"correct horse"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; this process itself is not hardened."""
    steps: list[str] = []
    read = beginning.read_passphrase

    def reads(path: Path) -> Secret:
        steps.append("read")
        return read(path)

    monkeypatch.setattr(beginning, "harden", lambda: steps.append("hardened"))
    monkeypatch.setattr(beginning, "read_passphrase", reads)
    return steps


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A node with a passphrase file, and no state."""
    site.private(tmp_path / "passphrase", PASSPHRASE.decode() + "\n")
    path = site.build(tmp_path)
    path.write_text(path.read_text().replace("[tls]", 'passphrase_file = "passphrase"\n[tls]', 1))
    return path


def make_keys(file: Path, passphrase: bytes) -> None:
    (file.parent / "state").mkdir(mode=0o700)
    keys = file.parent / "state" / "epoch-keys.json"
    FileSealer.create(keys, Secret(passphrase), cost=WEAK)


def test_a_node_that_has_keys_begins_to_open_them_after_it_was_hardened(
    file: Path, steps: list[str]
) -> None:
    make_keys(file, PASSPHRASE)
    begun = beginning.begin(file)

    assert begun.sealer is not None
    assert (begun.sealer.result().sealed, begun.sealer.result().epoch) == (False, 1)
    assert steps == ["hardened", "read"]


def test_a_wrong_passphrase_is_told_to_whoever_waits_for_the_keys(
    file: Path, steps: list[str]
) -> None:
    make_keys(file, b"battery staple")
    begun = beginning.begin(file)

    assert begun.sealer is not None
    with pytest.raises(LocalFault, match="the passphrase is wrong"):
        begun.sealer.result()


def test_the_passphrase_is_wiped_when_it_was_hashed(file: Path) -> None:
    make_keys(file, PASSPHRASE)
    passphrase = Secret(PASSPHRASE)
    beginning._opened(file.parent / "state" / "epoch-keys.json", passphrase)

    assert bytes(passphrase.expose()) == bytes(len(PASSPHRASE))


def test_the_first_start_ever_writes_nothing_before_the_whole_configuration_is_checked(
    file: Path, steps: list[str]
) -> None:
    begun = beginning.begin(file)

    assert begun.sealer is None
    assert not (file.parent / "state").exists()
    assert steps == ["hardened"]
