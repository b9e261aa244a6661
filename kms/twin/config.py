"""What one end of a simulated device pair is like, and how it fails."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import attrs
import cattrs
from cattrs import transform_error
from cattrs.errors import ClassValidationError
from cattrs.v import format_exception

from kms.domain import limits, names
from kms.domain.errors import BadName, LocalFault
from kms.domain.names import KSID

# 2026-01-01T00:00:00Z. Fixed, so that two ends started at different moments count alike.
EPOCH_MS: Final = 1_767_225_600_000
# What Dixon et al. 2008 and its successors run at: a few percent.
QBER_DEFAULT: Final = 0.02
RATE_BPS_MAX: Final = 10**12

_chance = attrs.validators.and_(attrs.validators.ge(0.0), attrs.validators.le(1.0))


def _likely() -> float:
    """A probability per block, 0 by default."""
    return attrs.field(default=0.0, validator=_chance)


@attrs.frozen(kw_only=True)
class Knobs:
    """How often this end fails, as a probability per block, drawn by the end's seed."""

    lost: float = _likely()
    """this end never has the block"""
    late: float = _likely()
    """this end has the block ``late_s`` after the other"""
    late_s: float = attrs.field(default=5.0, validator=attrs.validators.ge(0.0))
    duplicate: float = _likely()
    """the block before is answered once more in its place"""
    reordered: float = _likely()
    """the block after is answered first"""
    different: float = _likely()
    """other bits than the other end's"""
    garbage: float = _likely()
    """bytes that are no frame"""
    oversized: float = _likely()
    """a header that announces 4 GiB"""
    silent: float = _likely()
    """no answer, and the connection stays open"""
    half_frame: float = _likely()
    """half of the answer, then the device hangs up"""
    wrong_version: float = _likely()
    wrong_service: float = _likely()
    wrong_length: float = _likely()
    """a key one byte short"""
    bad_status: float = _likely()
    bad_metadata: float = _likely()
    """JSON that does not end"""
    zeros: float = _likely()
    """a key of zeros"""
    wrong_ksid: float = _likely()
    """another stream is opened than the one asked for; per OPEN_CONNECT"""
    qber: float = QBER_DEFAULT
    """may be nonsense, to see it refused"""
    qber_rises_after_s: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    qber_rise_per_s: float = 0.0
    """from ``qber_rises_after_s`` after the start on, up to 0.5"""
    down: tuple[tuple[float, float], ...] = ()
    """from, to, in seconds after the start: this end is off and makes nothing"""


@attrs.frozen(kw_only=True)
class TwinConfig:
    """One end. The other has the same, but for ``end``, ``host``, ``port`` and ``knobs``."""

    link: str = attrs.field(validator=attrs.validators.min_len(1))
    """the device pair's name"""
    end: str
    """this end's name: it seeds this end's faults"""
    seed: str = attrs.field(repr=False, validator=attrs.validators.min_len(1))
    ksid: KSID
    host: str = "127.0.0.1"
    port: int = attrs.field(
        default=0, validator=[attrs.validators.ge(0), attrs.validators.le(65535)]
    )
    """0: any free port"""
    key_chunk_size: int = attrs.field(
        default=64 * limits.KIB,
        validator=[attrs.validators.ge(1), attrs.validators.le(limits.BLOCK_BYTES_MAX)],
    )
    """bytes of one block"""
    rate_bps: int = attrs.field(
        default=1_000_000,
        validator=[attrs.validators.ge(0), attrs.validators.le(RATE_BPS_MAX)],
    )
    """secret key rate; 0: every block is there at once, for benches"""
    epoch_ms: int = EPOCH_MS
    """wall time of block number 0"""
    stock_blocks: int = attrs.field(default=4096, validator=attrs.validators.ge(1))
    """the device's buffer: older blocks are dropped"""
    origin: str = attrs.field(
        default="quantum",
        validator=attrs.validators.in_(("quantum", "post-quantum", "classical")),
    )
    knobs: Knobs = attrs.field(factory=Knobs)


def load(path: Path | None, settings: Iterable[str] = ()) -> TwinConfig:
    """The file's configuration, with each setting ``name=value`` or ``knobs.name=value`` laid over
    it; values as in TOML, bare words as text. Raises ``LocalFault``."""
    table: dict[str, Any] = {}
    where = str(path) if path else "settings"
    try:
        if path is not None:
            table = tomllib.loads(path.read_text("utf-8"))
        for setting in settings:
            _lay_over(table, setting)
        return parse(table)
    except (ClassValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        reasons = (
            transform_error(error, format_exception=_words)
            if isinstance(error, ClassValidationError)
            else [str(error)]
        )
        raise LocalFault(
            f"{where}: " + "; ".join(reasons), hint="see docs/writing-a-device-adapter.md"
        ) from None


def parse(table: Mapping[str, Any]) -> TwinConfig:
    """Unknown names are refused, as is every value outside its bounds."""
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(UUID, lambda value, _: _ksid(value))
    return converter.structure(table, TwinConfig)


def _words(error: BaseException, wanted: type | None) -> str:
    # attrs puts the sentence first, before the field and the value.
    known = isinstance(error, ValueError | TypeError) and error.args
    return str(error.args[0]) if known else format_exception(error, wanted)


def _ksid(value: object) -> UUID:
    try:
        return value if isinstance(value, UUID) else names.ksid(value)
    except BadName as error:
        raise ValueError(f"{error.reason}: {error.hint}") from None


def _lay_over(table: dict[str, Any], setting: str) -> None:
    name, sign, text = setting.partition("=")
    if not sign:
        raise LocalFault(f"setting {setting[:80]!r} has no value", hint="give name=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *path, last = name.strip().split(".")
    for step in path:
        table = table.setdefault(step, {})
        if not isinstance(table, dict):
            raise LocalFault(f"setting {name[:80]!r}: {step} is no table", hint="see --help")
    table[last] = value
