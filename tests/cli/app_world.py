"""Three interfaces of two nodes, and the demonstration's file that names them."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from kms.adapters.memory.northbound import MemoryNorthbound
from kms.adapters.pki import create_ca, issue
from kms.adapters.tls import Credentials
from kms.cli import main
from tests.client.faces import counter, scripted
from tests.client.fake_kme import FakeKME

A, B = "sae:app.a", "sae:app.b"


@attrs.define(kw_only=True)
class AppWorld:
    """What ``kms app`` sees: nodes alice and bob, applications a and b."""

    directory: Path
    northbound: MemoryNorthbound
    kme: FakeKME
    demo: dict[str, Any]
    """demo.json"""
    capsys: pytest.CaptureFixture[str]

    async def run(self, *words: object) -> tuple[int, str, str]:
        """Exit status, stdout and stderr; the command blocks, so it runs beside the loop."""
        text = [str(word) for word in words]
        status = await trio.to_thread.run_sync(main, text)
        shown = self.capsys.readouterr()
        return status, shown.out, shown.err

    async def app(self, name: str, command: str, *words: object) -> tuple[int, str, str]:
        """``kms app COMMAND --demo DIR --as NAME``."""
        demo = ("--demo", self.directory, "--as", name, "--wait", "0.2")
        return await self.run("app", command, *words, *demo)

    async def done(self, name: str, command: str, *words: object) -> Any:
        """The JSON of a command that succeeded."""
        status, out, err = await self.app(name, command, *words, "--json")
        assert (0, "") == (status, err)
        return json.loads(out)

    async def refused(self, exit_status: int, name: str, command: str, *words: object) -> str:
        """What a command said that did not succeed."""
        status, _, err = await self.app(name, command, *words)
        assert (exit_status, True) == (status, err.startswith("error: ")), err
        assert "\nhint: " in err
        return err

    def files(self, uri: str) -> Credentials:
        return issue(self.directory / "pki", uri)

    async def stream(self, *words: object) -> str:
        """An open stream of both applications."""
        ksid: str = (await self.done("alice", "open", *words))["ksid"]
        assert (await self.done("bob", "open", "--ksid", ksid))["peer_connected"]
        return ksid


@asynccontextmanager
async def app_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[AppWorld]:
    """Two nodes over one memory."""
    pki = tmp_path / "pki"
    ca = create_ca(pki)
    northbound, kme = MemoryNorthbound(), FakeKME()
    nodes, apps = [], []
    async with AsyncExitStack() as stack:
        for node, uri in (("alice", A), ("bob", B)):
            server, own = issue(pki, f"kms:{node}", ["127.0.0.1"]), issue(pki, uri)
            http = await stack.enter_async_context(counter(northbound, server))
            tls = await stack.enter_async_context(counter(northbound, server, interface="tls"))
            port = await stack.enter_async_context(scripted(server, kme.serve))
            nodes.append(
                {
                    "name": node,
                    "etsi004_url": http.url(),
                    "etsi004_tls": f"127.0.0.1:{tls.port}",
                    "etsi014_url": f"https://127.0.0.1:{port}",
                }
            )
            files = {"cert": str(own.certificate), "key": str(own.key)}
            apps.append({"sae_id": uri, "node": node, **files})
        demo = {"ca": str(ca), "nodes": nodes, "applications": apps}
        (tmp_path / "demo.json").write_text(json.dumps(demo))
        yield AppWorld(directory=tmp_path, northbound=northbound, kme=kme, demo=demo, capsys=capsys)
