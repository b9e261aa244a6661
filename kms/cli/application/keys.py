"""``kms app get``: keys of a stream (ETSI GS QKD 004) or with IDs (014).

Rules: a key is shown only where that was asked for: ``--reveal``, or a file that is its owner's
alone. Else a fingerprint is, by which two ends can see that they hold the same key.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

from cyclopts import Parameter

from kms.cli.application.output_file import new_file
from kms.cli.application.place import NOWHERE, At, Place, at
from kms.cli.application.showing import Fetched, Reveal, show
from kms.cli.application.streams import KSIDText, client, parsed, streaming, wrong_url
from kms.cli.application.told import Patience, failed
from kms.cli.output import JSON
from kms.client import BadAnswer, ClientError, Key, Keys, SyncKeyClient
from kms.domain.errors import LocalFault

# A mistyped number must not drain a link.
COUNT_MAX: Final = 100_000
# So many keys with IDs are asked for at once, if the node allows.
_BATCH: Final = 100


def get(
    *,
    place: Place = NOWHERE,
    ksid: KSIDText = None,
    index: Annotated[int | None, Parameter(help="of the first key; without it, the next")] = None,
    key_id: Annotated[
        tuple[str, ...], Parameter(negative="", help="of a key made for us, repeatable")
    ] = (),
    size: Annotated[int | None, Parameter(help="bits of each key with an ID")] = None,
    count: Annotated[int, Parameter(help="how many keys")] = 1,
    also: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="one more application of the fresh keys, repeatable"),
    ] = (),
    reveal: Annotated[Reveal | None, Parameter(help="show the keys: hex or base64")] = None,
    output: Annotated[
        Path | None, Parameter(help="the keys' bytes into this new file, mode 0600")
    ] = None,
    force: Annotated[bool, Parameter(negative="", help="--output replaces a file")] = False,
    json: JSON = False,
) -> None:
    """Get keys: of a stream with --ksid, made for us with --key-id, else fresh ones with IDs."""
    where = at(place, wants="004" if ksid is not None else "014")
    if not 1 <= count <= COUNT_MAX:
        raise LocalFault(f"{count} keys cannot be asked for", hint=f"give 1 to {COUNT_MAX}")
    if where.interface != "014":
        _only_streams(where, ksid, key_id, size, also)
        fetched = _of_stream(where, parsed(ksid or ""), index, count)
    else:
        if ksid is not None or index is not None:
            raise LocalFault("keys with IDs have no KSID or index", hint="give --interface 004")
        fetched = _with_ids(where, key_id, size, count, also)
    with ExitStack() as stack:
        file = stack.enter_context(new_file(output, force=force)) if output else None
        ends = show(fetched, file, reveal, as_json=json)
    # What did come is shown or in its file: it cannot be had again.
    if isinstance(ends, ClientError):
        raise failed(ends, about=f"not all of {count} keys")
    if ends is not None:
        raise ends


def _only_streams(
    where: At, ksid: str | None, key_id: tuple[str, ...], size: int | None, also: tuple[str, ...]
) -> None:
    streaming(where)
    if ksid is None:
        raise LocalFault(
            "no stream is named", hint="give --ksid KSID, or --interface 014 for keys with IDs"
        )
    if also:
        raise LocalFault("a stream has two applications", hint="leave --also out, or --ksid")
    if key_id or size is not None:
        raise LocalFault(
            "keys of a stream have an index, and the size that it was opened with",
            hint="leave --key-id and --size out, or --ksid",
        )


def _of_stream(where: At, ksid: UUID, index: int | None, count: int) -> Iterator[list[Fetched]]:
    patience, other = Patience(where.wait_s), where.other
    with client(where) as asked:
        stream = patience(lambda: asked.join(ksid, source=where.source, destination=other))
        for number in range(count):
            wanted = None if index is None else index + number
            key = patience(partial(stream.get, wanted))
            yield [Fetched(name={"index": key.index, **_age_and_hops(key)}, bits=key.bits)]


def _with_ids(
    where: At, key_id: tuple[str, ...], size: int | None, count: int, also: tuple[str, ...]
) -> Iterator[list[Fetched]]:
    patience, other = Patience(where.wait_s, awaited=()), where.other
    if key_id and (size is not None or count != 1 or also):
        raise LocalFault(
            "keys that exist have their size, number and applications",
            hint="leave --size, --count and --also out",
        )
    wanted = [_key_id(text) for text in key_id]
    with keys_client(where) as asked:
        if wanted:
            yield _each(patience(lambda: asked.dec_keys(other, wanted)))
            return
        most = _BATCH
        if count > 1:
            status = patience(lambda: asked.status(other))
            most = max(1, min(most, status.max_key_per_request))
        for done in range(0, count, most):
            number = min(most, count - done)
            ask = partial(asked.enc_keys, other, number=number, size=size, additional_slaves=also)
            yield _each(patience(ask))


def _age_and_hops(key: Key) -> dict[str, object]:
    """Of the metadata, what the standard names; metadata that does not read spoils no key."""
    try:
        details = key.details()
    except BadAnswer:
        return {}
    return {name: details[name] for name in ("age", "hops") if isinstance(details.get(name), int)}


def _each(keys: Keys) -> list[Fetched]:
    return [Fetched(name={"key_id": str(key.key_id)}, bits=key.bits) for key in keys]


def keys_client(where: At) -> SyncKeyClient:
    """Of this application at its node. Raises ``LocalFault``."""
    try:
        return SyncKeyClient(where.url, where.credentials, node=where.node)
    except ValueError as error:
        raise wrong_url(error) from None


def _key_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise LocalFault(f"{text!r:.80} is no key ID", hint="give a UUID, as get told it") from None
