"""A sound configuration: its defaults are safe, its paths follow the file."""

from pathlib import Path

import pytest

from kms.adapters.sdn_file import load_network
from kms.config import QKDSocketSection, check_network, load
from kms.domain.errors import LocalFault
from kms.domain.retention import KEEP
from kms.retention import KEEP_SAFELY
from kms.toml_file import Address, address
from tests.config import site


def test_what_is_not_said_is_safe(tmp_path: Path) -> None:
    config = load(site.build(tmp_path))

    listeners = [config.etsi004.listen, config.peer.listen, config.operations.listen]
    assert {listen.host for listen in listeners} == {"127.0.0.1"}
    assert config.node.passphrase_file is None, "the node starts sealed"
    assert config.link[0].qber_max == 0.11
    assert config.log.format == "json"


def test_what_is_kept_and_how_long_is_said_in_days_and_mebibytes(tmp_path: Path) -> None:
    said = "[retention]\ntombstone_days = 31\naudit_days = 400\naudit_segment_mib = 2\n[tls]"
    file = site.build(tmp_path)
    file.write_text(file.read_text().replace("[tls]", said))
    kept = load(file).retention

    assert kept.of_streams.tombstone_ms == 31 * 24 * 3600 * 1000
    assert (kept.audit_ms, kept.audit_segment_bytes) == (400 * 24 * 3600 * 1000, 2 * 2**20)
    assert KEEP_SAFELY.audit_ms is None
    assert KEEP_SAFELY.of_streams == KEEP


def test_paths_are_relative_to_the_file_not_to_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.build(tmp_path)
    monkeypatch.chdir(tmp_path.parent)

    config = load(Path(tmp_path.name) / path.name)

    assert config.tls.key == tmp_path / "node.key"
    assert config.audit_file == tmp_path / "state" / "audit.jsonl"
    assert config.admin_socket == tmp_path / "state" / "admin.sock"


def test_a_device_gets_the_class_of_its_type(tmp_path: Path) -> None:
    (device,) = load(site.build(tmp_path)).device

    assert isinstance(device, QKDSocketSection)
    assert device.key_chunk_size == 64 * 1024
    assert device.source == "qkd:alice-1.A"


def test_the_end_with_the_larger_name_needs_no_address(tmp_path: Path) -> None:
    path = site.build(tmp_path)
    text = site.NODE.replace('"A"', '"C"').replace('address = "127.0.0.1:7444"\n', "")
    path.write_text(text)

    config = load(path)

    assert config.link[0].address is None
    assert config.link_of(config.link[0].peer) == "B~C"


def test_a_secret_file_that_was_imported_and_erased_is_no_fault(tmp_path: Path) -> None:
    path = site.build(tmp_path)
    path.write_text(site.NODE.replace("[[link]]", '[[link]]\nsecret_file = "gone.json"'))

    assert load(path).link[0].secret_file == tmp_path / "gone.json"


def test_a_node_that_the_network_does_not_know_is_refused_before_it_starts(tmp_path: Path) -> None:
    path = site.build(tmp_path)
    (tmp_path / "network.toml").write_text('nodes = ["A", "C"]\nlinks = [["A", "C"]]\n')
    config = load(path)

    with pytest.raises(LocalFault, match=r"\[link\.1\] peer: .*network\.toml has no link A-B"):
        check_network(config, load_network(config.network.file), path)


def test_the_sample_files_of_this_project_are_sound(tmp_path: Path) -> None:
    """Every conf/*/node.toml loads once its own files are there, and fits its network."""
    samples = sorted((Path(__file__).parents[2] / "conf").glob("*/*.node.toml"))
    assert samples, "there are samples"

    for sample in samples:
        place = tmp_path / sample.parent.name / sample.name
        place.parent.mkdir(exist_ok=True)
        place.write_text(sample.read_text())
        network = place.with_name("network.toml")
        network.write_text(sample.with_name("network.toml").read_text())
        (place.parent / "pki").mkdir(exist_ok=True)
        name = sample.name.split(".")[0]
        for file in ("ca.pem", f"kms-{name}.pem"):
            (place.parent / "pki" / file).write_text("not looked into here")
        site.private(place.parent / "pki" / f"kms-{name}.key", "nor here")

        config = load(place)

        assert config.node.name == name
        check_network(config, load_network(network), place)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]:65535", "::1", 65535),
        ("a-b.example:80", "a-b.example", 80),
    ],
)
def test_an_address_reads_back_as_it_was_written(text: str, host: str, port: int) -> None:
    assert address(text) == Address(host, port)
    assert str(Address(host, port)) == text
