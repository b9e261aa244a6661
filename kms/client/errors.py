"""What can go wrong for an application, each with what it may do next.

One class for each thing that a program would act on differently. ``message`` is for a person and
comes from the node where it has one. No error ever holds key bits.
"""

from typing import Final

from kms.domain.status import QoS, Status

# A node's words are shown, not stored: a paragraph is enough.
_MESSAGE_CHARACTERS_MAX: Final = 500


def printable(words: str, characters_max: int) -> str:
    """A stranger's words, which end up in logs and on terminals, cut, without line ends and escape
    sequences."""
    return "".join(each if each.isprintable() else "?" for each in words[:characters_max])


class ClientError(Exception):
    """Abstract: the function did not succeed."""

    status: Status | None = None
    """of ETSI GS QKD 004, where it has one"""

    def __init__(self, message: str) -> None:
        message = message or (self.__doc__ or "").partition("\n")[0]
        self.message = printable(message, _MESSAGE_CHARACTERS_MAX)
        super().__init__(self.message)


# ---- outcomes that the standard names -------------------------------------------------------


class NotEnoughKey(ClientError):
    """No key at this index yet, or it was read before. Nothing is lost; ask again later."""

    status = Status.INSUFFICIENT_KEY


class PeerNotConnected(ClientError):
    """The peer application has not opened the stream, or there is no such stream of ours."""

    status = Status.PEER_NOT_CONNECTED


class NoConnection(ClientError):
    """No QKD connection to the peer's node serves this stream."""

    status = Status.NO_QKD_CONNECTION


class KSIDInUse(ClientError):
    """The Key_stream_ID belongs to another stream; choose another."""

    status = Status.KSID_IN_USE


class TimedOut(ClientError):
    """The stream's Timeout passed at the node. No key was delivered and none is lost."""

    status = Status.TIMEOUT


class QoSNotMet(ClientError):
    """The stream cannot be served as asked; ``qos`` would be admitted."""

    status = Status.QOS_NOT_MET

    def __init__(self, message: str, qos: QoS) -> None:
        super().__init__(message)
        self.qos = qos


class MetadataTooSmall(ClientError):
    """The metadata needs ``needed`` bytes. No key was delivered and none is lost."""

    status = Status.METADATA_SIZE_INSUFFICIENT

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


class KeyNotFound(ClientError):
    """One of the key IDs is not at the node: unknown, delivered before, or expired. All or nothing:
    none was delivered (ETSI GS QKD 014 clause 6.4)."""


# ---- outcomes that it leaves open -----------------------------------------------------------


class Refused(ClientError):
    """The operator's policy, or our certificate, does not allow it."""


class Malformed(ClientError):
    """The node could not read the request; ``field`` names the member at fault, if one is."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class Unavailable(ClientError):
    """The node cannot serve now, and nothing changed. Try again after ``retry_after_s``."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unreachable(Unavailable):
    """No connection to the node. Nothing was asked of it."""


class WrongServer(Unreachable):
    """Whoever answered did not prove to be the node. Nothing was asked of it."""


class AnswerLost(ClientError):
    """The request left and no answer came back: it may have been carried out.

    A GET_KEY without an index may have used one up at this end. Agree with the peer application
    on the next index and go on there; a lost key is not delivered again. Nor are keys with IDs:
    have new ones made.
    """


class BadAnswer(ClientError):
    """The node answered something that is no answer to what was asked."""


class BadFile(ClientError):
    """An encrypted file that is none, is cut off, or was altered."""
