"""What the client's errors are for a person at a terminal: what to do next, and an exit status."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from kms.cli.faults import Exit, Failed
from kms.client import (
    AnswerLost,
    BadAnswer,
    BadFile,
    ClientError,
    KeyNotFound,
    KSIDInUse,
    Malformed,
    MetadataTooSmall,
    NoConnection,
    NotEnoughKey,
    PeerNotConnected,
    QoSNotMet,
    Refused,
    TimedOut,
    Unavailable,
    Unreachable,
    WrongServer,
)

_T = TypeVar("_T")

# Between two questions when the node does not say how long to wait.
_PAUSE_S: Final = 0.5
# The first class that fits counts: what is more special stands before what it is a kind of.
_NEXT: Final[tuple[tuple[type[ClientError], Exit, str], ...]] = (
    (WrongServer, Exit.NOT_GENUINE, "check --url, --node and --ca: who answered is not that node"),
    (Unreachable, Exit.LATER, "is the node running, and does it listen at this address?"),
    (Unavailable, Exit.LATER, "the node cannot serve now; ask again, or with a longer --wait"),
    (NotEnoughKey, Exit.LATER, "ask again, or with a longer --wait; a key is delivered only once"),
    (
        PeerNotConnected,
        Exit.LATER,
        "both applications have to open the stream: kms app open --ksid KSID",
    ),
    (NoConnection, Exit.LATER, "ask the operator for kms status: the link to the peer's node"),
    (
        TimedOut,
        Exit.LATER,
        "no key is lost; ask again once the other application is there: kms app open --ksid KSID",
    ),
    (
        AnswerLost,
        Exit.LATER,
        "it may have been carried out, and a key is delivered once: go on with the next",
    ),
    (KSIDInUse, Exit.REFUSED, "the stream is closed or of others: kms app open makes a new one"),
    (QoSNotMet, Exit.REFUSED, "ask for what the message says, or for less"),
    (KeyNotFound, Exit.REFUSED, "have the other application make new keys"),
    (Refused, Exit.REFUSED, "the operator's policy, or the certificate: ask the operator"),
    (MetadataTooSmall, Exit.REFUSED, "ask without metadata"),
    (Malformed, Exit.REFUSED, "correct what the message names; kms app COMMAND --help"),
    (BadFile, Exit.NOT_GENUINE, "have it sent, or encrypted, again"),
    (BadAnswer, Exit.NOT_GENUINE, "is this the node's address, and the right --interface?"),
)


class Patience:
    """Asks again while waiting may help, each time for at most so long."""

    def __init__(
        self,
        wait_s: float,
        *,
        awaited: tuple[type[ClientError], ...] = (NotEnoughKey, PeerNotConnected),
    ) -> None:
        """``awaited``: what is worth waiting for beside a Timeout and an overload."""
        self._wait_s = wait_s
        self._awaited: tuple[type[ClientError], ...] = (*awaited, TimedOut, Unavailable)

    def __call__(self, ask: Callable[[], _T]) -> _T:
        """What the node answers in the end. Raises the last ``ClientError``."""
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                return ask()
            except self._awaited as error:
                if isinstance(error, Unreachable):
                    raise
                pause = error.retry_after_s if isinstance(error, Unavailable) else _PAUSE_S
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)


@contextmanager
def telling(*, about: str = "") -> Iterator[None]:
    """Whatever goes wrong inside with the node or a file ends the command with words and a status.
    ``about`` comes before the client's words."""
    try:
        yield
    except ClientError as error:
        raise failed(error, about=about) from error


def failed(error: ClientError, *, about: str = "") -> Failed:
    """The fault that ends the command."""
    words = error.message
    if isinstance(error, QoSNotMet):
        qos = error.qos
        words += (
            f" (would be admitted: --chunk {qos.key_chunk_size} --min-bps {qos.min_bps}"
            f" --max-bps {qos.max_bps} --jitter {qos.jitter} --timeout {qos.timeout}"
            f" --ttl {qos.ttl})"
        )
    exit_status, hint = next((each[1], each[2]) for each in _NEXT if isinstance(error, each[0]))
    return Failed(f"{about}: {words}" if about else words, hint=hint, exit_status=exit_status)
