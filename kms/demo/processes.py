"""The network's processes: started, watched, killed, stopped."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from kms.demo.site import DeviceFiles, NodeFiles, Site
from kms.domain.errors import LocalFault

# A node imports in about a second; a slow machine takes ten times that.
READY_S = 60.0
STOP_S = 15.0


class Processes:
    """Devices and nodes of one site, each a process of its own with its log in the directory."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start_all(self) -> None:
        for device in self._site.devices:
            self.start_device(device)
        for node in self._site.nodes:
            self.start_node(node)

    def start_device(self, device: DeviceFiles) -> None:
        self._start(f"device-{device.node}", "device-twin", device.config)

    def start_node(self, node: NodeFiles) -> None:
        self._start(node.name, "run", node.config)

    def kill(self, name: str) -> None:
        """``kill -9``: no chance to tidy up."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop_all(self) -> None:
        """Everything is asked to stop, in order, and killed if it does not."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()

    def check(self) -> None:
        """Raises ``LocalFault`` with the end of its log if a process ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                log = (self.log(name)).read_text(errors="replace").strip().splitlines()
                raise LocalFault(
                    f"{name} ended with status {process.returncode}: {' '.join(log[-3:])[-600:]}",
                    hint=f"its log is {self.log(name)}",
                )

    def log(self, name: str) -> Path:
        return self._site.directory / f"{name}.log"

    def _start(self, name: str, command: str, config: Path) -> None:
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "kms.cli", command, str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


@contextmanager
def running(site: Site) -> Iterator[Processes]:
    """All processes of the site run inside, and none after."""
    processes = Processes(site)
    try:
        processes.start_all()
        yield processes
    finally:
        processes.stop_all()


def health(node: NodeFiles) -> dict[str, Any] | None:
    """What ``/health`` says; None while nobody answers."""
    try:
        with urllib.request.urlopen(f"{node.operations_url}/health", timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except OSError:
        return None


async def until_ready(site: Site, processes: Processes) -> None:
    """Every node says that it is ready. Raises ``LocalFault`` when that takes too long."""
    with trio.move_on_after(READY_S) as waited:
        for node in site.nodes:
            while True:
                processes.check()
                found = await trio.to_thread.run_sync(health, node)
                if found is not None and found["state"] == "ready":
                    break
                await trio.sleep(0.1)
    if waited.cancelled_caught:
        states = {node.name: health(node) for node in site.nodes}
        raise LocalFault(
            f"the nodes are not ready after {READY_S:g} s: {states}",
            hint=f"their logs are in {site.directory}",
        )
