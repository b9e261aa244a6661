"""Why a request for keys with IDs is not served."""

from kms.domain.keyrequests import Outcome


class Unserved(Exception):
    """Raised before anything is consumed; whoever dispatches the request answers with it."""

    def __init__(self, outcome: Outcome | None, message: str) -> None:
        """``outcome`` None: policy forbids it to this caller."""
        super().__init__(message)
        self.outcome, self.message = outcome, message


def forbidden(message: str) -> Unserved:
    """Policy or directory do not let this caller."""
    return Unserved(None, message)


def bad_request(message: str) -> Unserved:
    """It can never be met as it stands."""
    return Unserved(Outcome.BAD_REQUEST, message)


def unavailable(message: str) -> Unserved:
    """Not now."""
    return Unserved(Outcome.UNAVAILABLE, message)
