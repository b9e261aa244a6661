"""Commands about keys: ``kms key suspend``, ``resume`` and ``compromise``.

After NIST SP 800-57 (docs/lifecycle.md): what is suspended is held back and may come back; what is
compromised never does. Which keys is said in one of three ways: a stream (all of it, or a range of
its indices), a link, or one key's ID of ETSI GS QKD 014.
"""

import getpass
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from kms.cli.output import JSON, NodeFile, client, report
from kms.config import load
from kms.domain.errors import LocalFault
from kms.domain.names import LinkId, link_id, node_id

_Stream = Annotated[str | None, Parameter(help="its Key_stream_ID")]
_Indices = Annotated[str | None, Parameter(help="of the stream: one, or FIRST-LAST")]
_Link = Annotated[str | None, Parameter(help="all streams over the link to this neighbour")]
_KeyID = Annotated[str | None, Parameter(help="one key, by its ID of ETSI GS QKD 014")]
_Reason = Annotated[str, Parameter(help="for the audit at both ends")]
_Operator = Annotated[str | None, Parameter(help="who says so; else the user's name")]

_DONE = {"suspend": "suspended", "resume": "resumed", "compromise": "compromised"}


def suspend(
    node: NodeFile,
    /,
    *,
    reason: _Reason,
    stream: _Stream = None,
    indices: _Indices = None,
    link: _Link = None,
    key_id: _KeyID = None,
    operator: _Operator = None,
    json: JSON = False,
) -> None:
    """Hold keys back at both ends until they are resumed. Of a whole stream or link: also those to
    come; its streams wait."""
    fields = _fields(node, reason, stream, indices, link, key_id, operator)
    _order("suspend", node, fields, as_json=json)


def resume(
    node: NodeFile,
    /,
    *,
    reason: _Reason,
    stream: _Stream = None,
    indices: _Indices = None,
    link: _Link = None,
    key_id: _KeyID = None,
    operator: _Operator = None,
    json: JSON = False,
) -> None:
    """Let suspended keys be delivered again, at both ends."""
    fields = _fields(node, reason, stream, indices, link, key_id, operator)
    _order("resume", node, fields, as_json=json)


def compromise(
    node: NodeFile,
    /,
    *,
    reason: _Reason,
    stream: _Stream = None,
    indices: _Indices = None,
    link: _Link = None,
    key_id: _KeyID = None,
    operator: _Operator = None,
    json: JSON = False,
) -> None:
    """Give keys up for lost at both ends, for good. A whole stream is closed; a whole link loses
    all its key as well, and needs another secret (kms link restart)."""
    fields = _fields(node, reason, stream, indices, link, key_id, operator)
    _order("compromise", node, fields, as_json=json)


def _fields(
    node: Path,
    reason: str,
    stream: str | None,
    indices: str | None,
    link: str | None,
    key_id: str | None,
    operator: str | None,
) -> dict[str, object]:
    fields: dict[str, object] = {"reason": reason, "operator": operator or getpass.getuser()}
    if indices is not None:
        fields["first"], fields["count"] = _range(indices)
    if link is not None:
        fields["link"] = _link_named(link, load(node).node.name)
    return {**fields, "stream": stream, "key_id": key_id}


def _link_named(text: str, here: str) -> LinkId:
    """The link to this neighbour, or of this very name, as status shows it."""
    ends = text.split("~")
    if len(ends) == 2 and here in ends:
        ends.remove(here)
    return link_id(node_id(here), node_id("~".join(ends)))


def _range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", text)
    if found is None:
        raise LocalFault(f"{text!r:.50} names no indices", hint="give one, or FIRST-LAST: 5, 5-9")
    first = int(found[1])
    return first, int(found[2] or first) - first + 1


def _order(act: str, node: Path, fields: dict[str, object], *, as_json: bool) -> None:
    answer = client(node).post(f"/keys/{act}", msgspec.json.encode(fields))
    report(answer, _sentence(act, answer), as_json=as_json)


def _sentence(act: str, answer: dict[str, Any]) -> str:
    what = f"link {answer['link']}"
    if answer["stream"] is not None:
        what = f"stream {answer['stream']}"
        if answer["count"] is not None:
            last = answer["first"] + answer["count"] - 1
            what += f", index {last}" if answer["count"] == 1 else f", {answer['first']} to {last}"
    done = f"{what}: {'' if answer['changed'] else 'was already '}{_DONE[act]}"
    peer = "the neighbour knows" if answer["told"] else "the neighbour is told when it is there"
    counts = f"{answer['waiting']} undelivered keys here"
    if answer["delivered"] and act != "resume":
        counts += f"; {answer['delivered']} were delivered here before"
    return f"{done}: {counts}; {peer}"
