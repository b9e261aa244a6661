"""Sealer: the epoch keys under which data keys are wrapped."""

from typing import Protocol

from kms.domain.secret import Secret


class Sealer(Protocol):
    """Holds the epoch keys; they are never in the store. Starts sealed.

    An epoch key is itself kept wrapped under the passphrase, beside the store, by the adapter.
    """

    @property
    def sealed(self) -> bool:
        """No epoch key is open: ``wrap`` and ``unwrap`` raise ``Sealed``."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch whose key wraps from now on; counts from 1; 0 while sealed."""
        ...

    async def unseal(self, passphrase: Secret) -> None:
        """The epoch keys are open. Raises ``LocalFault`` for a wrong passphrase (nothing
        changes) or damaged key file. Takes the time of the password hash, off the event loop."""
        ...

    def wrap(self, data_key: Secret, context: bytes) -> bytes:
        """The data key, wrapped under the current epoch key and bound to ``context``. Fixed
        length. Raises ``Sealed``."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> Secret:
        """The data key. Raises ``StoreFault`` if altered, of another context or of an epoch
        that was retired; ``Sealed`` if sealed."""
        ...

    async def rotate(self) -> int:
        """A new epoch key is durable and wraps from now on; its number. Older ones still
        unwrap until ``retire``."""
        ...

    async def retire(self, before_epoch: int) -> None:
        """Keys of epochs below ``before_epoch`` are unreadable in the node's files."""
        ...
