"""The hand-carried secret: two files, the same bits, each read only where and how it should be."""

import json
import os
from pathlib import Path

import pytest

from kms.adapters.memory.entropy import SeededEntropy
from kms.domain import limits
from kms.domain.errors import BadName, LocalFault
from kms.domain.names import NodeId
from kms.link_secret import decode, encode, erase, make, read_link_secret, write
from kms.ports.admin import CarriedSecret
from tests.config.site import private

A, B, C = NodeId("A"), NodeId("B"), NodeId("C")


@pytest.fixture
def secret() -> CarriedSecret:
    return make(B, A, SeededEntropy(1))


def spoiled(secret: CarriedSecret, **changes: object) -> bytes:
    return json.dumps({**json.loads(encode(secret)), **changes}).encode()


def test_both_sites_read_the_same_secret(tmp_path: Path, secret: CarriedSecret) -> None:
    for_a, for_b = write(secret, tmp_path)

    at_a, at_b = read_link_secret(for_a, A), read_link_secret(for_b, B)

    assert secret.nodes == (A, B), "smaller name first, whichever was said first"
    assert at_a == at_b == secret
    assert len(at_a.bits) == limits.SECRET_BYTES
    assert {path.stat().st_mode & 0o777 for path in (for_a, for_b)} == {0o600}


def test_two_secrets_differ_in_name_and_bits() -> None:
    entropy = SeededEntropy(1)
    first, second = make(A, B, entropy), make(A, B, entropy)

    assert first.secret_id != second.secret_id
    assert first.bits != second.bits


def test_a_link_of_one_node_gets_no_secret() -> None:
    with pytest.raises(BadName):
        make(A, A, SeededEntropy(1))


def test_a_secret_that_lies_there_is_not_overwritten_and_no_half_is_left(
    tmp_path: Path, secret: CarriedSecret
) -> None:
    for_a, for_b = write(secret, tmp_path)
    for_a.unlink()
    kept = for_b.read_bytes()

    with pytest.raises(LocalFault, match="File exists"):
        write(make(A, B, SeededEntropy(2)), tmp_path)

    assert for_b.read_bytes() == kept
    assert not for_a.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o601])
def test_a_file_that_others_may_have_read_is_refused(
    tmp_path: Path, secret: CarriedSecret, mode: int
) -> None:
    for_a, _ = write(secret, tmp_path)
    for_a.chmod(mode)

    with pytest.raises(LocalFault, match="is open to others"):
        read_link_secret(for_a, A)


def test_a_secret_is_refused_at_a_third_site(tmp_path: Path, secret: CarriedSecret) -> None:
    for_a, _ = write(secret, tmp_path)

    with pytest.raises(LocalFault, match="for the link A~B, and this node is C"):
        read_link_secret(for_a, C)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"secret_id": "AB" * 16},
        {"secret_id": "ab" * 15},
        {"link": "B~A"},
        {"link": "A~A"},
        {"link": "A"},
        {"link": "A~B~C"},
        {"bits": ""},
        {"bits": "AAAA"},
        {"bits": "*" * 8},
        {"bits": 7},
        {"more": 1},
    ],
    ids=str,
)
def test_a_spoiled_secret_is_refused_without_quoting_it(
    secret: CarriedSecret, changes: dict[str, object]
) -> None:
    data = spoiled(secret, **changes)

    with pytest.raises(LocalFault) as refusal:
        decode(data, A)

    told = refusal.value.reason + refusal.value.hint + repr(refusal.value.__cause__)
    assert json.loads(encode(secret))["bits"][:12] not in told
    fault = refusal.value
    assert fault.__context__ is None or fault.__suppress_context__, (
        "no traceback leads to a text that quotes it"
    )


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"\xff", b"null", b"{}"])
def test_what_is_no_secret_is_a_fault(tmp_path: Path, data: bytes) -> None:
    path = private(tmp_path / "x.json", "")
    path.write_bytes(data)

    with pytest.raises(LocalFault, match="is no link secret"):
        read_link_secret(path, A)


def test_a_link_to_the_file_a_directory_and_nothing_are_refused(
    tmp_path: Path, secret: CarriedSecret
) -> None:
    for_a, _ = write(secret, tmp_path)
    (tmp_path / "symbolic").symlink_to(for_a)
    tmp_path.chmod(0o700)

    for path in (tmp_path / "symbolic", tmp_path, tmp_path / "none"):
        with pytest.raises(LocalFault, match=str(path)):
            read_link_secret(path, A)


def test_after_the_import_the_file_is_overwritten_and_gone(
    tmp_path: Path, secret: CarriedSecret
) -> None:
    for_a, _ = write(secret, tmp_path)
    with for_a.open("rb") as still_open:
        erase(for_a)
        left = still_open.read()

    assert not for_a.exists()
    assert left == bytes(len(left)), "what is left on the medium is zeros"
    erase(for_a)


def test_a_name_that_carries_a_path_never_reaches_a_file(tmp_path: Path) -> None:
    """Names are parsed before they are joined to a directory."""
    from kms.cli import main

    before = os.listdir(tmp_path)
    status = main(["link-secret", "../A", "B", "--directory", str(tmp_path / "x")])

    assert status == 1
    assert os.listdir(tmp_path) == before
