"""network.toml: the file that stands in for a controller.

Rules: a file is taken whole or not at all; a bad one changes nothing, is named in the log, and
the last good view stays in force. What no ``[[allow]]`` allows is refused.

Theory of operation: ``changed`` looks at the file's stamp (inode, size, time) every ``poll_s``,
reads it when the stamp has been the same at two looks, and at once after ``reload``, which SIGHUP
and ``kms reload`` call: then the operator says that it is complete. Only another *view* counts as
a change, so touching the file or editing a comment wakes nobody. Writing a new file beside it and
renaming it is the safe way to edit.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, get_origin

import attrs
import trio

from kms import toml_file
from kms.domain.errors import LocalFault
from kms.domain.names import NodeId, SAEId, node_id
from kms.domain.policy import Policy, Rule, Share
from kms.ports.sdn import Network
from kms.toml_file import Fault, Wrong, place


@attrs.frozen(kw_only=True)
class _Application:
    sae: SAEId
    node: NodeId


@attrs.frozen(kw_only=True)
class _Allow:
    one: str
    other: str
    at: NodeId | None = None
    max_bps: int | None = None
    per: Literal["pair", "rule", "stream"] = "pair"


@attrs.frozen(kw_only=True)
class _Policy:
    revoked: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class _File:
    nodes: tuple[NodeId, ...]
    links: tuple[tuple[NodeId, NodeId], ...]
    application: tuple[_Application, ...] = ()
    allow: tuple[_Allow, ...] = ()
    policy: _Policy = _Policy()


def load_network(path: Path) -> Network:
    """The view in this file. Raises ``LocalFault`` that lists all its faults, with places."""
    made = toml_file.converter(path.absolute().parent)
    made.register_structure_hook_func(_is_pair, _pair)
    file = toml_file.structure(toml_file.read(path), _File, made, path)
    faults = list(_faults(file))
    if faults:
        raise toml_file.refusal(path, faults)
    return Network(
        nodes=frozenset(file.nodes),
        links=frozenset(_sorted(pair) for pair in file.links),
        directory={application.sae: application.node for application in file.application},
        policy=Policy(
            rules=tuple(_rule(allow) for allow in file.allow),
            revoked=frozenset(_plain(text) for text in file.policy.revoked),
        ),
    )


class Log(Protocol):
    """What of a structlog logger this adapter needs."""

    def warning(self, event: str, /, **fields: Any) -> object: ...


class SDNFile:
    """The SDN port over a file. Reports go nowhere: a file does not listen."""

    def __init__(self, path: Path, *, log: Log, poll_s: float = 2.0) -> None:
        self._path = path
        self._log = log
        self._poll_s = poll_s
        self._shown: Network | None = None
        self._refused: object = None
        self._asked = trio.Event()

    async def network(self) -> Network:
        self._shown = await self._read()
        return self._shown

    async def changed(self) -> None:
        looked_at: object = None
        before: object = None
        asked = False
        while True:
            stamp = await trio.to_thread.run_sync(_stamp, self._path)
            # Still under way, perhaps: a file cut at a line's end is a sound file with fewer
            # rules, and one revoked certificate less.
            settled = asked or stamp == before
            if settled and stamp != looked_at:
                looked_at = stamp
                if await self._differs(stamp):
                    return
            before = stamp
            with trio.move_on_after(self._poll_s) as waited:
                await self._asked.wait()
            asked = not waited.cancelled_caught
            if asked:
                self._asked = trio.Event()
                looked_at = None

    async def reload(self) -> Network:
        """The view as the file has it now; ``changed`` looks at once. Raises ``LocalFault``."""
        self._asked.set()
        return await self._read()

    async def report(self, state: Mapping[str, object]) -> None:
        await trio.lowlevel.checkpoint()

    async def _read(self) -> Network:
        return await trio.to_thread.run_sync(load_network, self._path)

    async def _differs(self, stamp: object) -> bool:
        try:
            network = await self._read()
        except LocalFault as fault:
            if stamp != self._refused:
                self._refused = stamp
                self._log.warning("network-file-refused", reason=fault.reason, hint=fault.hint)
            return False
        self._refused = None
        return network != self._shown


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        state = path.stat()
    except OSError:
        return ()
    return (state.st_ino, state.st_size, state.st_mtime_ns)


def _faults(file: _File) -> Iterator[Fault]:
    known = set(file.nodes)
    for number, node in enumerate(file.nodes, 1):
        if node in file.nodes[: number - 1]:
            yield Fault(f"nodes.{number}", f"{node} is listed twice")
    seen: dict[object, int] = {}
    for number, pair in enumerate(file.links, 1):
        at = f"links.{number}"
        if pair[0] == pair[1]:
            yield Fault(at, f"{pair[0]} is linked to itself")
        elif seen.setdefault(_sorted(pair), number) != number:
            yield Fault(at, f"{'-'.join(pair)} is already links.{seen[_sorted(pair)]}")
        for node in sorted({*pair} - known):
            yield Fault(at, f"{node} is not in nodes")
    for number, application in enumerate(file.application, 1):
        if seen.setdefault(application.sae, number) != number:
            reason = f"{application.sae} is already [application.{seen[application.sae]}]"
            yield Fault(place("application", number, "sae"), reason)
        if application.node not in known:
            yield Fault(place("application", number, "node"), f"{application.node} is not in nodes")
    for number, rule in enumerate(file.allow, 1):
        for field in ("one", "other"):
            if not _PATTERN.fullmatch(getattr(rule, field)):
                reason = f"{getattr(rule, field)!r:.80} matches no application: give a pattern"
                yield Fault(place("allow", number, field), f"{reason} such as sae:*.site")
        if rule.at is not None and rule.at not in known:
            yield Fault(place("allow", number, "at"), f"{rule.at} is not in nodes")
        if rule.max_bps is not None and not 1 <= rule.max_bps <= _BPS_MAX:
            reason = f"{rule.max_bps} is not between 1 and {_BPS_MAX}: leave it out for no bound"
            yield Fault(place("allow", number, "max_bps"), reason)
        if rule.max_bps is None and rule.per != "pair":
            yield Fault(place("allow", number, "per"), "says nothing without max_bps")
    for number, text in enumerate(file.policy.revoked, 1):
        if not _FINGERPRINT.fullmatch(_plain(text)):
            reason = f"{text!r:.80} is not a SHA-256 fingerprint: give 64 hexadecimal digits"
            yield Fault(place("policy", None, f"revoked.{number}"), reason)


# 1 Tbit/s: no link makes as much.
_BPS_MAX = 10**12
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_PATTERN = re.compile(r"[A-Za-z0-9*?\[][A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]{0,127}")


def _rule(allow: _Allow) -> Rule:
    return Rule(
        one=allow.one,
        other=allow.other,
        at=allow.at,
        max_bps=allow.max_bps,
        per=Share(allow.per),
    )


def _plain(fingerprint: str) -> str:
    """As ``openssl x509 -fingerprint`` prints it, or as we do: without colons, lower case."""
    return fingerprint.replace(":", "").lower()


def _sorted(pair: tuple[NodeId, NodeId]) -> tuple[NodeId, NodeId]:
    return (min(pair), max(pair))


def _is_pair(kind: Any) -> bool:
    return get_origin(kind) is tuple and len(get_args(kind)) == 2 and Ellipsis not in get_args(kind)


def _pair(value: Any, _: Any) -> tuple[NodeId, NodeId]:
    if not isinstance(value, list) or len(value) != 2:
        raise Wrong(f'{value!r:.80} is not a link: give two nodes, ["A", "B"]')
    return node_id(value[0]), node_id(value[1])
