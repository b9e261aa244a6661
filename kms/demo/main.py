"""``kms demo``: lays out a network, runs it, shows what came of it."""

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from kms.demo.processes import running, until_ready
from kms.demo.site import Site, lay_out
from kms.demo.story import Outcome, tell
from kms.domain.errors import LocalFault


@attrs.frozen(kw_only=True)
class Wishes:
    """What the user asked the demonstration to do."""

    keys: int
    chunk_bytes: int
    rate_bps: int
    block_bytes: int
    directory: Path | None
    keep: bool
    as_json: bool


def run(wishes: Wishes) -> int:
    """Exit status 0 only if every key was equal at both ends."""
    console = Console(stderr=True)
    # Asked to end, the demonstration stops its processes and removes its directory.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _directory(wishes) as directory:
        console.print(f"Laying out certificates, secrets and configurations in {directory}")
        site = lay_out(directory, rate_bps=wishes.rate_bps, block_bytes=wishes.block_bytes)
        console.print("Starting two QKD devices and two nodes, each a process of its own")
        with running(site) as processes:
            trio.run(until_ready, site, processes)
            console.print("Both nodes are ready: they share a link and agree on blocks")
            outcome = _tell(site, wishes, console)
            _print(outcome, wishes)
            if wishes.keep:
                _keep(site, console)
    return 0 if outcome.good else 1


@contextmanager
def _directory(wishes: Wishes) -> Iterator[Path]:
    """The directory that was named, or a fresh one that is removed at the end."""
    if wishes.directory is not None:
        path = wishes.directory.absolute()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise LocalFault(f"{path} is not empty", hint="give a new directory with --dir")
        yield path
        return
    path = Path(tempfile.mkdtemp(prefix="kms-demo-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _tell(site: Site, wishes: Wishes, console: Console) -> Outcome:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("Two applications fetch keys", total=wishes.keys)
        return trio.run(
            partial(
                tell,
                site,
                keys=wishes.keys,
                chunk_bytes=wishes.chunk_bytes,
                progress=lambda done: progress.update(task, completed=done),
            )
        )


def _print(outcome: Outcome, wishes: Wishes) -> None:
    if wishes.as_json:
        fields = attrs.asdict(outcome) | {
            "ksid": str(outcome.ksid),
            "delivered_bps": outcome.delivered_bps,
            "good": outcome.good,
        }
        print(json.dumps(fields, indent=2), flush=True)
        return
    table = Table(title="Two nodes, two applications, one stream", show_header=False)
    for name, value in (
        ("blocks agreed", f"{outcome.blocks_agreed}"),
        ("keys delivered at both ends", f"{outcome.keys_delivered} of {outcome.chunk_bytes} bytes"),
        ("equal", f"{outcome.keys_equal}"),
        ("different", f"{outcome.keys_different}"),
        ("keys per second", f"{outcome.keys_delivered / max(outcome.seconds, 1e-9):.0f}"),
        ("key rate to each application", f"{outcome.delivered_bps / 1000:.1f} kbit/s"),
        ("pad spent on the nodes' own frames", f"{outcome.pad_bytes_on_own_frames} bytes"),
        ("message sent", outcome.message_sent),
        ("as it crossed the network", outcome.message_hidden[:64] + "..."),
        ("message read", outcome.message_read),
    ):
        table.add_row(name, value)
    Console().print(table)


def _keep(site: Site, console: Console) -> None:
    """Returns when the user interrupts."""
    application, node = site.applications[0], site.nodes[0]
    peer = site.applications[1]
    body = json.dumps(
        {
            "source": application.sae_id,
            "destination": peer.sae_id,
            "QoS": {"Key_chunk_size": 32},
        }
    )
    console.print("The network is up. Talk to it from another terminal:", style="bold")
    console.print(
        f"curl --cacert {site.ca} --cert {application.certificate} --key {application.key} \\\n"
        f"  -H 'Content-Type: application/json' -d '{body}' \\\n"
        f"  {node.etsi004_url}/etsi004/v2.1.1/open_connect",
        soft_wrap=True,
        highlight=False,
    )
    console.print(
        f"curl --cacert {site.ca} --cert {application.certificate} --key {application.key} \\\n"
        f"  '{node.etsi014_url}/api/v1/keys/{peer.sae_id}/enc_keys?number=2&size=256'",
        soft_wrap=True,
        highlight=False,
    )
    console.print(f"curl {node.operations_url}/health", highlight=False)
    console.print(f"kms status {node.config}", soft_wrap=True, highlight=False)
    shortly = f"kms app open --demo {site.directory} --as {application.node}"
    console.print(shortly, soft_wrap=True, highlight=False)
    console.print(f"All addresses and files: {site.directory}/demo.json; Ctrl-C ends it.")
    trio.run(_until_interrupted)
    console.print("Stopping")


async def _until_interrupted() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return
