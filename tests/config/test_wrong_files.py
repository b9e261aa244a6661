"""Operator error: each wrong file is refused with words that name the place.

Method: take a sound node, spoil one thing, and look for file, place and reason in what is said.
"""

from pathlib import Path

import attrs
import pytest

from kms.config import load
from kms.domain.errors import LocalFault
from tests.config import site


@attrs.frozen
class Wrong:
    """Replace ``old`` in node.toml by ``new``; the fault must begin and go on like this."""

    story: str
    old: str
    new: str
    place: str
    says: str = ""


LINK_B = '[[link]]\npeer = "B"\naddress = "127.0.0.1:7444"\n'
KSID = "6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c"


def name(field: str) -> str:
    """An entry with this field, in front of what ``[tls]`` stands for."""
    return f"[identity]\nsources = ['uri', 'cn']\n[[identity.name]]\nsae = 'sae:x'\n{field}[tls]"


DEVICE = site.NODE[site.NODE.index("[[device]]") :]
TWICE = name("cn = 'x'\n[[identity.name]]\nsae = 'sae:y'\ncn = 'x'\n")
OTHER_DEVICE = DEVICE.replace("alice-1", "alice-2").replace("bob-1", "bob-2")
OTHER_KSID = "7b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c"

WRONG = (
    # ---- TOML -------------------------------------------------------------------------------
    Wrong("an unclosed text", '"A"', '"A', "line 2, column 10", "Illegal character"),
    Wrong("no value", 'name = "A"', "name =", "line 2, column 7", "Invalid value"),
    Wrong("a table twice", "[tls]", "[node]", "line 5, column 6", "twice"),
    Wrong("a field twice", "[tls]", 'name = "C"\n[tls]', "line 5, column 1", "overwrite"),
    Wrong("an equals sign missing", 'name = "A"', 'name "A"', "line 2, column 6", "Expected '='"),
    Wrong("a table where a list belongs", LINK_B, LINK_B.replace("[[link]]", "[link]"), "link"),
    Wrong("a list where a table belongs", "[tls]", "[[tls]]", "tls", "write [...]"),
    # ---- unknown and missing ----------------------------------------------------------------
    Wrong("an unknown table", "[tls]", "[tsl]", "tsl", "unknown; there are"),
    Wrong("a missing table", site.NODE[site.NODE.index("[network]") :], "", "network", "missing"),
    Wrong("a misspelt field", "peer =", "pear =", "[link.1] pear", "unknown; there are"),
    Wrong("a missing field", 'name = "A"\n', "", "[node] name", "missing"),
    Wrong("a field of another table", "[[link]]", "[[link]]\nname = 'x'", "[link.1] name"),
    Wrong("an unknown device type", '"qkd-socket"', '"qkd-sockets"', "device.1", "qkd-socket"),
    Wrong("a device without a type", 'type = "qkd-socket"\n', "", "device.1", "type None"),
    Wrong("a field no device has", "[[device]]", "[[device]]\nspeed = 1", "[device.1] speed"),
    # ---- types ------------------------------------------------------------------------------
    Wrong("a number as name", '"A"', "7", "[node] name", "7 is not a node"),
    Wrong("a text as number", "[[link]]", '[[link]]\nqber_max = "1"', "[link.1] qber_max"),
    Wrong("truth as number", "[[link]]", "[[link]]\nblock_expiry_s = true", "[link.1] block_exp"),
    Wrong("a fraction of a byte", "[[link]]", "[[link]]\npool_bytes_max = 1e9", "[link.1] pool"),
    Wrong("not a number", "[[link]]", "[[link]]\nqber_max = nan", "[link.1] qber_max", "nan"),
    Wrong("a list as file", '"node.key"', '["node.key"]', "[tls] key", "is not a file name"),
    Wrong("an empty file name", '"node.key"', '""', "[tls] key", "is not a file name"),
    Wrong("a level nobody knows", "[tls]", '[log]\nlevel="all"\n[tls]', "[log] level", "debug"),
    Wrong("a text as table", "[network]", 'stop = "now"\n[network]', "[tls] stop", "unknown"),
    # ---- names ------------------------------------------------------------------------------
    Wrong("a name with a space", '"A"', '"site A"', "[node] name", "1 to 32 of"),
    Wrong("a name too long", '"A"', f'"{"A" * 33}"', "[node] name", "1 to 32 of"),
    Wrong("a bad KSID", KSID, "not-a-uuid", "[device.1] ksid", "UUID version 4"),
    Wrong("a KSID of version 1", KSID, KSID.replace("-4", "-1"), "[device.1] ksid", "version 4"),
    Wrong("a source that is no URI", "qkd:alice-1.A", "alice", "[device.1] source", "a URI of"),
    Wrong("a destination too long", "bob-1.B", "b" * 64, "[device.1] destination", "at most 64"),
    # ---- addresses --------------------------------------------------------------------------
    Wrong("no port", "127.0.0.1:7444", "127.0.0.1", "[link.1] address", "host:port"),
    Wrong("a port too large", ":7444", ":74440", "[link.1] address", "host:port"),
    Wrong("a URL", "127.0.0.1:7444", "https://b:7444", "[link.1] address", "host:port"),
    Wrong("a port nobody dials", ":9001", ":0", "[device.1] address", "cannot be dialled"),
    Wrong(
        "two listeners at one place",
        "[tls]",
        '[operations]\nlisten = "127.0.0.1:8443"\n[tls]',
        "[operations] listen",
        "[etsi004]'s already",
    ),
    Wrong(
        "frames where HTTP listens",
        "[tls]",
        '[etsi004_tls]\nlisten = "127.0.0.1:8443"\n[tls]',
        "[etsi004_tls] listen",
        "[etsi004]'s already",
    ),
    Wrong(
        "keys with IDs where HTTP listens",
        "[tls]",
        '[etsi014]\nlisten = "127.0.0.1:8443"\n[tls]',
        "[etsi014] listen",
        "[etsi004]'s already",
    ),
    Wrong(
        "a port for keys with IDs that is none",
        "[tls]",
        '[etsi014]\nlisten = "127.0.0.1"\n[tls]',
        "[etsi014] listen",
        "host:port",
    ),
    # ---- retention --------------------------------------------------------------------------
    Wrong(
        "a name forgotten too soon",
        "[tls]",
        "[retention]\ntombstone_days = 29\n[tls]",
        "[retention] tombstone_days",
        "29 is not between 30 and 3650",
    ),
    Wrong(
        "fewer blocks than two ends compare",
        "[tls]",
        "[retention]\nspent_blocks = 16383\n[tls]",
        "[retention] spent_blocks",
        "not between 16384",
    ),
    Wrong(
        "a journal kept for a week",
        "[tls]",
        "[retention]\naudit_days = 7\n[tls]",
        "[retention] audit_days",
        "less than 30; 0 keeps all",
    ),
    Wrong(
        "files of no size",
        "[tls]",
        "[retention]\naudit_segment_mib = 0\n[tls]",
        "[retention] audit_segment_mib",
        "not between 1",
    ),
    # ---- swapped, doubled, linked to itself --------------------------------------------------
    Wrong("no source of names", "[tls]", "[identity]\nsources = []\n[tls]", "[identity] sources"),
    Wrong(
        "a source twice", "[tls]", "[identity]\nsources = ['cn', 'cn']\n[tls]", "[identity] sour"
    ),
    Wrong(
        "a strange source", "[tls]", "[identity]\nsources = ['ip']\n[tls]", "[identity] sources.1"
    ),
    Wrong("a name of nothing", "[tls]", name(""), "[identity] name.1", "exactly one"),
    Wrong(
        "a name of two kinds", "[tls]", name("cn = 'x'\nuri = 'x:y'\n"), "[identity] name.1", "one"
    ),
    Wrong("a name not asked for", "[tls]", name("dns = 'x'\n"), "[identity] name.1.dns", "sources"),
    Wrong("a node's name", "[tls]", name("uri = 'kms:B'\n"), "[identity] name.1.uri", "itself"),
    Wrong("a NUL in a name", "[tls]", name('cn = "x\\u0000"\n'), "[identity] name.1.cn", "NUL"),
    Wrong("a name twice", "[tls]", TWICE, "[identity] name.2.cn", "name.1"),
    Wrong(
        "a name for nobody", "[tls]", name("cn = 'x'\n").replace("sae:x", "a b"), "[identity] name"
    ),
    Wrong("a link to itself", 'peer = "B"', 'peer = "A"', "[link.1] peer", "this node itself"),
    Wrong("a link twice", LINK_B, LINK_B + LINK_B, "[link.2] peer", "peer of [link.1]"),
    Wrong("nowhere to dial", 'address = "127.0.0.1:7444"\n', "", "[link.1] address", "dials B"),
    Wrong("a device of no link", 'link = "B"', 'link = "C"', "[device.1] link", "peers: B"),
    Wrong("names swapped", 'name = "A"', 'name = "B"', "[link.1] peer", "this node itself"),
    Wrong("a device with itself", "bob-1.B", "alice-1.A", "[device.1] destination", "other end"),
    Wrong(
        "one name for two devices",
        DEVICE,
        DEVICE + DEVICE.replace(KSID, OTHER_KSID),
        "[device.2] name",
        "the name of [device.1]",
    ),
    Wrong("one stream for two", DEVICE, DEVICE + OTHER_DEVICE, "[device.2] ksid", "[device.1]"),
    # ---- out of bounds ----------------------------------------------------------------------
    Wrong("a negative pool", "[[link]]", "[[link]]\npool_bytes_max = -1", "[link.1] pool", "-1 is"),
    Wrong("no errors allowed", "[[link]]", "[[link]]\nqber_max = 0.0", "[link.1] qber_max", "0.5"),
    Wrong("a coin as key", "[[link]]", "[[link]]\nqber_max = 0.6", "[link.1] qber_max", "0.5"),
    Wrong("an expiry of nothing", "[[link]]", "[[link]]\nblock_expiry_s = 0", "[link.1] block"),
    Wrong("no bytes at all", "[[device]]", "[[device]]\nkey_chunk_size = 0", "[device.1] key_ch"),
    Wrong("grace before birth", "[tls]", "[stop]\ngrace_s = -1\n[tls]", "[stop] grace_s", "3600"),
    Wrong(
        "a witness in the backup",
        "[tls]",
        '[witness]\nfile = "state/w"\n[tls]',
        "[witness] file",
        "inside [node] directory",
    ),
    Wrong(
        "a disk not mounted",
        "[tls]",
        '[witness]\nfile = "no/disk/w"\n[tls]',
        "[witness] file",
        "mounted",
    ),
    # ---- files ------------------------------------------------------------------------------
    Wrong("a key that is not there", '"node.key"', '"no.key"', "[tls] key", "No such file"),
    Wrong("no certificate", '"node.pem"', '"no.pem"', "[tls] certificate", "No such file"),
    Wrong("no network file", '"network.toml"', '"no.toml"', "[network] file", "No such file"),
    Wrong("a directory as key", '"node.key"', '"."', "[tls] key", "is not a regular file"),
    Wrong("a key for all", '"node.key"', '"ca.pem"', "[tls] key", "chmod 600"),
    Wrong("state in a file", '"state"', '"ca.pem"', "[node] directory", "is not a directory"),
    Wrong("a path too deep", '"state"', f'"{"d" * 99}"', "[node] directory", "unix socket"),
    Wrong(
        "a passphrase for all",
        'name = "A"',
        'name = "A"\npassphrase_file = "ca.pem"',
        "[node] passphrase_file",
        "chmod 600",
    ),
    Wrong(
        "a link secret for all",
        "[[link]]",
        '[[link]]\nsecret_file = "ca.pem"',
        "[link.1] secret_file",
        "chmod 600",
    ),
    Wrong(
        "a device key for all",
        DEVICE,
        DEVICE + 'tls = {certificate = "ca.pem", key = "ca.pem", ca = "ca.pem"}\n',
        "[device.1] tls.key",
        "chmod 600",
    ),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.story)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, wrong: Wrong) -> None:
    path = site.build(tmp_path)
    assert site.NODE.count(wrong.old) >= 1, "the table of this test"
    path.write_text(site.NODE.replace(wrong.old, wrong.new))

    with pytest.raises(LocalFault) as refusal:
        load(path)

    lines = refusal.value.reason.splitlines()
    assert any(
        line.startswith(f"{path}: {wrong.place}") and wrong.says in line for line in lines
    ), refusal.value.reason
    assert str(path) in refusal.value.hint


def test_the_table_holds_the_forty_that_were_asked_for() -> None:
    assert len({wrong.story for wrong in WRONG}) == len(WRONG) >= 40


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = site.build(tmp_path)
    path.write_text(
        site.NODE.replace('peer = "B"', 'peer = "B!"').replace(KSID, "no").replace('"A"', "1")
    )

    with pytest.raises(LocalFault) as refusal:
        load(path)

    places = [line.split(": ")[1] for line in refusal.value.reason.splitlines()]
    assert sorted(places) == ["[device.1] ksid", "[link.1] peer", "[node] name"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalFault, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe", b"\0", b"a=" + b"[" * 5000, b"x = 1\n" * 300_000],
    ids=["not UTF-8", "a zero byte", "nested without end", "larger than any configuration"],
)
def test_bytes_that_are_no_configuration_are_refused_not_crashed_on(
    tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(data)

    with pytest.raises(LocalFault) as refusal:
        load(path)

    assert refusal.value.reason.startswith(f"{path}: ")
    assert len(refusal.value.reason) < 1000
