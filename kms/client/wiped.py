"""What a ``with`` block wipes at its end."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from kms.domain.secret import zero


class Wiped(ABC):
    """Key, and when it goes."""

    __slots__ = ()

    @abstractmethod
    def wipe(self) -> None:
        """The bits are zero."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wipe()


class Bits(Wiped):
    """One key's bits, in ``bits``."""

    __slots__ = ()

    bits: bytearray

    def wipe(self) -> None:
        """The bits are zero; the length stays."""
        zero(self.bits)

    def __bytes__(self) -> bytes:
        """A copy of the bits, which cannot be wiped."""
        return bytes(self.bits)

    def __len__(self) -> int:
        return len(self.bits)
