"""A network file that cannot be is refused, and says where."""

from pathlib import Path

import pytest

from kms.domain.errors import LocalFault
from kms.simulation.topology import load, named

GOOD = """
name = "pair"
[[site]]
name = "a"
[[site]]
name = "b"
[[link]]
between = ["a", "b"]
rate_bps = 1000
"""


@pytest.mark.parametrize("name", ["two-nodes", "slow-link", "nec-five-node"])
def test_our_networks_are_good(name: str) -> None:
    assert named(name).name == name


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('["a", "b"]', '["a", "a"]', "[link.1] between: names two different sites"),
        ('["a", "b"]', '["a"]', "[link.1] between: names two different sites"),
        ('["a", "b"]', '["a", "c"]', "[link.1] between: there is no site c"),
        ("rate_bps = 1000", "rate_bps = -1", "[link.1] rate_bps: a rate between 0"),
        ("rate_bps = 1000", "rate_bps = 1000\nblock_bytes = 1", "[link.1] block_bytes: between"),
        ("rate_bps = 1000", "rate_bps = 1000\ndelay_ms = -1", "[link.1] delay_ms: between 0"),
        ('name = "b"', 'name = "a"', "[[site]]: two sites have the same name"),
        ("rate_bps", "rate", "[link.1] rate: unknown"),
        ('name = "b"', 'name = "b"\napplications = 1000', "[site.2] applications: at most"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_name(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    file = tmp_path / "network.toml"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(LocalFault) as refused:
        load(file)

    assert sentence in refused.value.reason


def test_the_same_link_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "network.toml"
    file.write_text(GOOD + '[[link]]\nbetween = ["b", "a"]\nrate_bps = 1\n')
    with pytest.raises(LocalFault, match="this link is there already"):
        load(file)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(LocalFault):
        named("no-such-network")
