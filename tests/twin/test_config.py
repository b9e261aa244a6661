"""The twin's knobs are read strictly."""

from pathlib import Path
from uuid import UUID

import pytest

from kms.domain.errors import LocalFault
from kms.twin.config import EPOCH_MS, Knobs, TwinConfig, load

STREAM = "6f2c8d5e-0b1a-4c3d-9e4f-5a6b7c8d9e0f"
NEEDED = ("link=a~b", "end=A", "seed=s", f"ksid={STREAM}")


def test_a_file_and_settings_over_it(tmp_path: Path) -> None:
    path = tmp_path / "twin.toml"
    path.write_text(
        f'link = "a~b"\nend = "A"\nseed = "s"\nksid = "{STREAM}"\nrate_bps = 1000\n'
        "[knobs]\nlost = 0.25\ndown = [[10, 20.5]]\n"
    )
    config = load(path, ["rate_bps=2000", "knobs.late=0.5", "end=B"])

    assert config == TwinConfig(
        link="a~b",
        end="B",
        seed="s",
        ksid=UUID(STREAM),  # type: ignore[arg-type]
        rate_bps=2000,
        knobs=Knobs(lost=0.25, late=0.5, down=((10.0, 20.5),)),
    )
    assert config.epoch_ms == EPOCH_MS


def test_settings_alone_are_enough() -> None:
    assert load(None, NEEDED).key_chunk_size == 64 * 1024


def test_the_seed_is_not_shown() -> None:
    config = load(None, [*NEEDED, "seed=hunter2"])

    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("knobs.lots=0.1", "lots"),
        ("speed=1", "speed"),
        ("knobs.lost=1.5", "lost"),
        ("knobs.lost=-0.1", "lost"),
        ("knobs.lost=nan", "lost"),
        ("rate_bps=-1", "rate_bps"),
        ("rate_bps=1e13", "rate_bps"),
        ("key_chunk_size=0", "key_chunk_size"),
        ("key_chunk_size=5000000", "key_chunk_size"),
        ("port=70000", "port"),
        ("ksid=123", "ksid"),
        ("stock_blocks=0", "stock_blocks"),
        ("origin=magic", "origin"),
        ("rate_bps", "rate_bps"),
        ("link.x=1", "link"),
        ("knobs=3", "knobs"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(wrong: str, named: str) -> None:
    with pytest.raises(LocalFault) as raised:
        load(None, [*NEEDED, wrong])

    assert named in raised.value.reason


def test_what_is_missing_is_named() -> None:
    with pytest.raises(LocalFault, match="ksid"):
        load(None, NEEDED[:3])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalFault, match="nowhere"):
        load(tmp_path / "nowhere.toml")


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LocalFault, match=r"broken\.toml"):
        load(path)
