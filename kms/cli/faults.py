"""Faults that end a command with a status of its own, so that a script can tell them apart."""

from enum import IntEnum

from kms.domain.errors import LocalFault


class Exit(IntEnum):
    """Exit statuses of ``kms app``; 1 and 2 are those of every command."""

    LATER = 3
    """not now: the same command may succeed later"""
    REFUSED = 4
    """not as it was asked: another command is needed, or another permission"""
    NOT_GENUINE = 5
    """a file or an answer that is not what it should be"""


class Failed(LocalFault):
    """The command did not succeed; it ends with this status."""

    def __init__(self, reason: str, *, hint: str, exit_status: Exit) -> None:
        super().__init__(reason, hint=hint)
        self.exit_status = exit_status
