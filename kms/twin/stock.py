"""Which blocks this end has now.

Rules: number i is made at ``epoch + (i + 1) * block bits / rate``. This end has the numbers made
since it started, but for those lost, those delivered, and those beyond its buffer; each is taken
once. The index is the number modulo 2**32: at 4 kHz of 32-byte keys it wraps within two weeks.

Theory of operation. ``_floor`` is the smallest number that may still be here; a number above it is
here if it is made, not lost and not in ``_delivered``. Both are bounded by the buffer's size.
"""

from typing import Final

import attrs

from kms.domain.limits import INDEX_MAX
from kms.twin.chance import Chance
from kms.twin.config import TwinConfig

CIRCLE: Final = INDEX_MAX + 1
# Losses in a row that the search for the next block goes through.
LOST_IN_A_ROW_MAX: Final = 10_000
QBER_MAX: Final = 0.5


@attrs.frozen(kw_only=True)
class Found:
    """A block that this end gives away now."""

    number: int
    index: int
    age_ms: int
    qber: float


@attrs.frozen(kw_only=True)
class Missing:
    """It has none there; ``index``: the oldest that it has or will have."""

    index: int


class Stock:
    """The device's buffer, as a function of time and of what was taken."""

    def __init__(self, config: TwinConfig, chance: Chance, started_ms: int) -> None:
        self._config = config
        self._knobs = config.knobs
        self._chance = chance
        self._started_ms = started_ms
        self._made = 0
        # What was made before the start was in a buffer that the restart emptied.
        self._floor = self._made_by(started_ms) if config.rate_bps else 0
        self._delivered: set[int] = set()
        self._last: int | None = None
        self._struck: set[tuple[str, int]] = set()

    def take(self, index: int, now_ms: int) -> Found | Missing:
        """The block asked for, or another if a knob says so; it is then gone from here."""
        self._grow(now_ms)
        number = self._number(index)
        if (
            self._last is not None
            and number != self._last
            and self.strikes("duplicate", number, self._knobs.duplicate)
        ):
            return self._found(self._last, now_ms)
        if (
            self._here(number, now_ms)
            and self._here(number + 1, now_ms)
            and self.strikes("reordered", number, self._knobs.reordered)
        ):
            number += 1
        asked_again = number == self._last and index != 0
        if not asked_again and not self._here(number, now_ms):
            return Missing(index=self._oldest() % CIRCLE)
        self._delivered.add(number)
        self._last = number
        return self._found(number, now_ms)

    def strikes(self, knob: str, number: int, probability: float) -> bool:
        """Whether the knob strikes at this number, which it does once: asked again, all is well."""
        if (knob, number) in self._struck or not self._chance.happens(knob, number, probability):
            return False
        if len(self._struck) >= self._config.stock_blocks:
            self._struck.clear()
        self._struck.add((knob, number))
        return True

    def _found(self, number: int, now_ms: int) -> Found:
        made_ms = self._made_ms(number, now_ms)
        return Found(
            number=number,
            index=number % CIRCLE,
            age_ms=min(max(now_ms - made_ms, 0), INDEX_MAX),
            qber=self._qber(made_ms),
        )

    def _grow(self, now_ms: int) -> None:
        """Blocks are made, the oldest dropped, bounds kept; a clock that falls makes nothing."""
        if self._config.rate_bps:
            self._made = max(self._made, self._made_by(now_ms))
            self._floor = max(self._floor, self._made - self._config.stock_blocks)
        while self._floor in self._delivered:
            self._delivered.remove(self._floor)
            self._floor += 1
        if len(self._delivered) > self._config.stock_blocks:
            # Without a rate nothing else ends the wait for a lost or skipped number.
            self._floor = sorted(self._delivered)[len(self._delivered) // 2]
        if self._delivered and min(self._delivered) < self._floor:
            self._delivered = {n for n in self._delivered if n >= self._floor}

    def _here(self, number: int, now_ms: int) -> bool:
        if number < self._floor or number in self._delivered or self._lost(number, now_ms):
            return False
        if not self._config.rate_bps:
            return True
        late = self._chance.happens("late", number, self._knobs.late)
        return number < (
            self._made_by(now_ms - int(1000 * self._knobs.late_s)) if late else self._made
        )

    def _oldest(self) -> int:
        for number in range(self._floor, self._floor + LOST_IN_A_ROW_MAX):
            if number not in self._delivered and not self._lost(number, None):
                return number
        return self._floor + LOST_IN_A_ROW_MAX

    def _lost(self, number: int, now_ms: int | None) -> bool:
        if self._chance.happens("lost", number, self._knobs.lost):
            return True
        if not self._config.rate_bps:
            return False
        after_s = (self._made_ms(number, now_ms or 0) - self._started_ms) / 1000
        return any(start <= after_s < end for start, end in self._knobs.down)

    def _made_by(self, now_ms: int) -> int:
        bits_per_block = 8 * self._config.key_chunk_size
        return max(
            0, (now_ms - self._config.epoch_ms) * self._config.rate_bps // (1000 * bits_per_block)
        )

    def _made_ms(self, number: int, now_ms: int) -> int:
        if not self._config.rate_bps:
            return now_ms
        bits = (number + 1) * 8 * self._config.key_chunk_size
        return self._config.epoch_ms - (-bits * 1000 // self._config.rate_bps)

    def _number(self, index: int) -> int:
        """The number of that index nearest to what is here."""
        number = self._floor - self._floor % CIRCLE + index
        candidates = (number - CIRCLE, number, number + CIRCLE)
        return min(candidates, key=lambda candidate: abs(candidate - self._floor))

    def _qber(self, made_ms: int) -> float:
        rising_s = (made_ms - self._started_ms) / 1000 - self._knobs.qber_rises_after_s
        if not self._knobs.qber_rise_per_s or rising_s <= 0:
            return self._knobs.qber
        return min(self._knobs.qber + rising_s * self._knobs.qber_rise_per_s, QBER_MAX)
