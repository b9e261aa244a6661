"""What both faces need to reach a node: TLS, and whether what answered is that node."""

import select
import ssl

from kms.adapters.tls import Checks, Credentials, CurrentTLS, uri_sans
from kms.client.errors import AnswerLost, Unreachable, WrongServer


def tls(credentials: Credentials, node: str | None, alpn: tuple[str, ...]) -> CurrentTLS:
    """TLS for a node known by its name, or by the host name if ``node`` is None."""
    checks = Checks.HOST_NAME if node is None else Checks.URI
    return CurrentTLS(credentials, alpn=alpn, checks=checks)


def prove(der: bytes | None, node: str | None) -> None:
    """The server with this certificate is the node. Raises ``WrongServer``."""
    if node is None:
        return  # the TLS layer compared the host name
    names = uri_sans(der or b"")
    if f"kms:{node}" not in names:
        shown = ", ".join(names)[:200] or "no node"
        raise WrongServer(f"wanted kms:{node}, reached {shown}")


def unreachable(error: BaseException | None) -> Unreachable:
    """What to raise when no connection came about, because of ``error``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return WrongServer(f"the server's certificate: {error.verify_message}")
    if refused_us(error):
        assert isinstance(error, ssl.SSLError), "an alert is TLS's"
        return Unreachable(f"the server does not take our certificate, it seems: {error.reason}")
    if isinstance(error, ssl.SSLError):
        return Unreachable(f"TLS: {error.reason or error}")
    if error is not None and isinstance(error.__cause__, BaseExceptionGroup):
        error = error.__cause__.exceptions[0]  # trio tried several addresses; one says enough
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Unreachable(f"cannot connect: {reason}")


def refused_us(error: BaseException | None) -> bool:
    """The server told us in TLS that it will not talk to us. In TLS 1.3 that comes after our
    side of the handshake is done, where the first answer was expected."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "").upper()


def broken(function: str, *, first: bool) -> AnswerLost:
    """The connection ended before the answer. On its first request a certificate that the node
    does not accept looks like this, too, where the node's end comes as a reset."""
    perhaps = "; perhaps our certificate is not accepted" if first else ""
    return AnswerLost(f"{function}: the connection broke{perhaps}")


def has_news(descriptor: int) -> bool:
    """Bytes or an end wait on an idle connection: it is of no further use."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
