"""Faults that no answer explains: in our log, never in the answer."""

from structlog.typing import FilteringBoundLogger

from kms.adapters.edge import place_of


def tell(log: FilteringBoundLogger, error: BaseException) -> None:
    """The operator has type, words and place; no local variables."""
    log.error(
        "etsi004_failed",
        error=type(error).__name__,
        reason=str(error)[:200],
        at=place_of(error),
    )
