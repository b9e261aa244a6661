"""The sealer port in memory: real sealing, epoch keys that no file holds."""

import secrets

from nacl.exceptions import CryptoError
from nacl.secret import Aead

from kms.domain.errors import LocalFault, Sealed, StoreFault
from kms.domain.secret import Secret

_EPOCH_BYTES = 4


class MemorySealer:
    """Implements ``Sealer``. ``passphrase`` opens it; with none given it starts open."""

    def __init__(self, passphrase: Secret | None = None) -> None:
        self._keys = {1: secrets.token_bytes(Aead.KEY_SIZE)}
        self._passphrase = passphrase
        self._sealed = passphrase is not None

    @property
    def sealed(self) -> bool:
        return self._sealed

    @property
    def epoch(self) -> int:
        return 0 if self._sealed else max(self._keys)

    async def unseal(self, passphrase: Secret) -> None:
        if self._passphrase is not None and passphrase != self._passphrase:
            raise LocalFault("the passphrase is wrong", hint="give the one it was made with")
        self._sealed = False

    def seal(self) -> None:
        """``wrap`` and ``unwrap`` raise ``Sealed``."""
        self._sealed = True

    def wrap(self, data_key: Secret, context: bytes) -> bytes:
        self._require()
        head = self.epoch.to_bytes(_EPOCH_BYTES, "big")
        box = Aead(self._keys[self.epoch])
        return head + bytes(box.encrypt(bytes(data_key.expose()), head + context))

    def unwrap(self, wrapped: bytes, context: bytes) -> Secret:
        self._require()
        head, rest = wrapped[:_EPOCH_BYTES], wrapped[_EPOCH_BYTES:]
        key = self._keys.get(int.from_bytes(head, "big"))
        if key is None:
            raise StoreFault("the epoch was retired", hint="nothing to do: the key is gone")
        try:
            return Secret(Aead(key).decrypt(rest, head + context))
        except (CryptoError, ValueError):
            raise StoreFault("a wrapped data key was altered", hint="burn the block") from None

    async def rotate(self) -> int:
        self._require()
        self._keys[self.epoch + 1] = secrets.token_bytes(Aead.KEY_SIZE)
        return self.epoch

    async def retire(self, before_epoch: int) -> None:
        self._require()
        oldest = min(before_epoch, self.epoch)
        self._keys = {epoch: key for epoch, key in self._keys.items() if epoch >= oldest}

    def _require(self) -> None:
        if self._sealed:
            raise Sealed
