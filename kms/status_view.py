"""``kms status`` for a person: which links make how much key, who uses it, what is wrong.

Rules: what is wrong comes first; a figure carries its unit; nothing is shown that is not in
``NodeStatus``. The JSON form of the same is in ``adapters.operations.status_json``.
"""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kms.domain.statistics import LinkStatus, NodeState, NodeStatus, PadStatus

_COLOURS = {
    NodeState.READY: "green",
    NodeState.DEGRADED: "yellow",
    NodeState.SEALED: "red",
    NodeState.STANDING: "red",
    NodeState.STOPPING: "yellow",
}


def view(status: NodeStatus) -> RenderableType:
    """The whole status, for a rich console."""
    parts: list[RenderableType] = [_headline(status)]
    parts += [Text(f"  {_clean(why)}", style="yellow") for why in status.why]
    if status.alarms:
        parts.append(_alarms(status))
    parts.append(_links(status))
    if status.devices:
        parts.append(_devices(status))
    parts.append(_streams(status))
    parts.append(Text("\n".join(_footer(status)), style="dim"))
    return Group(*parts)


def size(count_bytes: float) -> str:
    """Bytes as a person reads them: ``64.0 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count_bytes) < 1024:
            return f"{count_bytes:.0f} B" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.1f} TiB"


def rate(bps: float) -> str:
    """Bit/s as a person reads them: ``10.1 kbit/s``."""
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if abs(bps) < 1000:
            return f"{bps:.3g} {unit}"
        bps /= 1000
    return f"{bps:.3g} Gbit/s"


def _clean(text: str) -> str:
    """Without what a terminal would obey: a neighbour's words may be in an alarm."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _headline(status: NodeStatus) -> Text:
    line = Text(f"{status.node} ", style="bold")
    line.append(status.state.value, style=_COLOURS[status.state])
    return line.append(f"  up {_time(status.uptime_s)}  version {status.version}", style="dim")


def _links(status: NodeStatus) -> Table:
    table = _table("links", "link", "state", "in", "level out / in", "granted out / in")
    for column in ("marks out / in", "reserve", "own frames", "burnt", "alarm"):
        table.add_column(column)
    for link in status.links:
        table.add_row(
            escape(link.link),
            _link_state(link),
            rate(link.rate_in_bps),
            _both(size(link.outgoing.level_bytes), size(link.incoming.level_bytes)),
            _both(_granted(link.outgoing), _granted(link.incoming)),
            _both(link.outgoing.mark, link.incoming.mark),
            size(link.reserve_bytes),
            f"{link.own_frames_total}, {size(link.own_pad_bytes_total)}",
            size(link.burnt_bytes_total),
            Text(_clean(link.ordered or link.alarm), style="red"),
        )
    return table


def _link_state(link: LinkStatus) -> Text:
    if link.alarm or link.state == "doubted":
        return Text(f"{link.state} {link.epoch}", style="red")
    if link.up:
        return Text(f"up, epoch {link.epoch}", style="green")
    return Text("connecting" if link.connected else f"down, {link.state}", style="yellow")


def _granted(pad: PadStatus) -> str:
    """What may be spent at once, of what is there."""
    return size(max(min(pad.granted, pad.end) - pad.mark, 0))


def _devices(status: NodeStatus) -> Table:
    table = _table("devices", "device", "link", "state", "blocks", "key", "faults")
    for device in status.devices:
        faults = ", ".join(f"{name} {n}" for name, n in sorted(device.faults_total.items()))
        state = (
            Text("up", "green") if device.connected else Text(_clean(device.fault) or "down", "red")
        )
        row = (escape(device.device), escape(device.link), state, str(device.blocks_total))
        table.add_row(*row, size(device.bytes_total), escape(_clean(faults)))
    return table


def _streams(status: NodeStatus) -> Table:
    title = f"streams: {status.streams_open} open"
    if len(status.streams) < status.streams_open:
        title += f", {len(status.streams)} shown"
    table = _table(title, "KSID", "local", "remote", "link", "state")
    for column in ("designated", "ready", "delivered", "waiting", "promised", "got", "delay"):
        table.add_column(column, justify="right")
    table.add_column("ordered")
    for stream in status.streams:
        names = (str(stream.ksid), stream.local, stream.remote, stream.link, stream.state)
        figures = (stream.next_index, stream.ready, stream.delivered, stream.waiting)
        promised = rate(stream.promised_bps) if stream.promised_bps else ""
        service = stream.service
        got = ("", "")
        if service:
            got = (rate(service.throughput_bps), f"{service.delay_ms_mean:.1f} ms")
        told = "" if stream.order_told else " (the neighbour is still to be told)"
        orders = Text(stream.ordered + told, "red")
        table.add_row(*map(escape, names), *map(str, figures), promised, *got, orders)
    return table


def _alarms(status: NodeStatus) -> Table:
    table = _table("alarms", "kind", "link", "what")
    for alarm in status.alarms:
        table.add_row(
            Text(_clean(alarm.kind), "red"), escape(alarm.link or ""), escape(_clean(alarm.detail))
        )
    return table


def _footer(status: NodeStatus) -> Iterator[str]:
    yield f"audit head {status.journal_number}:{status.journal_hash}"
    if status.store is not None:
        kept, files = size(status.store.material_bytes), size(status.store.file_bytes)
        yield f"store {kept} sealed in {files} of files, {status.store.commits_total} commits"
    if status.get_key is not None and status.get_key.count:
        half, most = status.get_key.quantile_ms(0.5), status.get_key.quantile_ms(0.99)
        yield f"GET_KEY {status.get_key.count} answered, half within {half:g} ms, 99 % {most:g} ms"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _both(out: object, into: object) -> str:
    return f"{out} / {into}"


def _time(seconds: float) -> str:
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:.0f} d {hours % 24:.0f} h"
    return f"{hours:.0f} h {minutes % 60:.0f} min" if hours else f"{minutes:.0f} min"
