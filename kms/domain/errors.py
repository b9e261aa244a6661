"""Whose fault, which ETSI status, what to do next.

Strategy: callers act differently on *whose fault* an error is (answer the application, drop the
peer, quarantine the device, stop the link), so that is the class; everything else is a field.
No message ever contains key bits.
"""

from kms.domain.status import Status


class KMSError(Exception):
    """Abstract: raise one of the four faults below."""

    def __init__(self, reason: str, *, hint: str, status: Status | None = None) -> None:
        if type(self) is KMSError:
            raise TypeError("raise LocalFault, PeerFault, AppFault or DeviceFault")
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.status = status


class LocalFault(KMSError):
    """Our own side: configuration, disk, journal, entropy. The operator acts on the hint."""


class PeerFault(KMSError):
    """The neighbour node broke the protocol. Its link stops; other links go on (I9, I10)."""


class AppFault(KMSError):
    """The application asked for what it may not or cannot have. It gets the status; nobody else
    notices (I10)."""


class DeviceFault(KMSError):
    """The QKD device misbehaved; ``name`` is a stable word for logs, metrics and alarms."""

    def __init__(self, name: str, reason: str, *, hint: str) -> None:
        super().__init__(reason, hint=hint)
        self.name = name


class BadName(AppFault):
    """An identity that does not parse. The text is shown cut to 80 characters."""

    def __init__(self, kind: str, text: object, wanted: str) -> None:
        shown = repr(text)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        super().__init__(f"{shown} is not a {kind}", hint=f"give {wanted}")


class StoreFault(LocalFault):
    """The store refuses: locked, corrupt, too new, foreign, full or unreadable."""


class JournalFault(LocalFault):
    """The audit journal cannot be written or does not verify: no key leaves (I11)."""


class WitnessFault(LocalFault):
    """The witness outside the store cannot be used or written: nothing leaves (I1)."""


class Sealed(LocalFault):
    """The node has no epoch key yet; ``kms unseal`` opens it."""

    def __init__(self) -> None:
        super().__init__("the node is sealed", hint="run: kms unseal NODE.toml")
