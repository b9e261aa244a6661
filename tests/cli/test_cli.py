"""The command line: exit status, error and hint, JSON; the work is tested where it is done."""

import json
import subprocess
import sys
import types
from functools import partial
from pathlib import Path

import pytest
import structlog
import trio

from kms.adapters.edge import listen_unix, serve
from kms.adapters.journal_file import FileJournal
from kms.adapters.operations import ADMIN_BOUNDS, admin_app
from kms.cli import main
from kms.domain.errors import LocalFault
from kms.wiring import beginning
from tests.adapters.test_journal_segments import DAY_MS, write
from tests.cli.fake_node import FakeNode
from tests.config import site
from tests.contract.test_journal import entry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir(mode=0o700)
    return site.build(tmp_path)


@pytest.fixture
async def node(file: Path, nursery: trio.Nursery) -> FakeNode:
    """A node that answers at the admin socket of ``file``."""
    fake = FakeNode()
    listeners = [listen_unix(file.parent / "state" / "admin.sock")]
    log = structlog.testing.CapturingLogger()
    app = admin_app(fake)
    await nursery.start(
        partial(serve, app, listeners=listeners, tls=None, log=log, bounds=ADMIN_BOUNDS)
    )
    return fake


async def command(*arguments: object) -> int:
    """The exit status; the command blocks, so it runs beside the node's loop."""
    return await trio.to_thread.run_sync(main, [str(word) for word in arguments])


# ---- faults and usage -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["run"], ["status", "a", "b"], ["link-secret", "A"], ["status", "--jason", "x"]],
    ids=" ".join,
)
def test_wrong_usage_is_status_2_with_a_hint(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.endswith("hint: kms --help, or kms COMMAND --help\n")


@pytest.mark.parametrize("name", ["check", "status", "rekey", "reload", "stop", "unseal"])
def test_a_wrong_configuration_is_status_1_without_a_traceback(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, str(tmp_path / "none.toml")]) == 1

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        f"error: {tmp_path / 'none.toml'}: No such file or directory",
        "hint: give the path of a readable file",
    ]


def test_a_node_that_does_not_run_is_told_so(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(file)]) == 1

    assert "no node answers at" in capsys.readouterr().err


def test_faults_of_several_tasks_are_all_told_and_a_bug_keeps_its_trace(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = types.ModuleType("kms.app")
    monkeypatch.setattr(beginning, "harden", lambda: None)
    faults = [LocalFault(f"fault {number}", hint="none") for number in (1, 2)]

    def run(path: Path, *, raises: BaseException) -> None:
        raise raises

    monkeypatch.setitem(sys.modules, "kms.app", app)
    group = ExceptionGroup("nursery", [faults[0], ExceptionGroup("inner", [faults[1]])])
    monkeypatch.setattr(app, "run", partial(run, raises=group), raising=False)
    assert main(["run", str(file)]) == 1
    assert capsys.readouterr().err.count("error: fault") == 2

    bug = ExceptionGroup("nursery", [faults[0], ValueError("a bug")])
    monkeypatch.setattr(app, "run", partial(run, raises=bug))
    with pytest.raises(ExceptionGroup):
        main(["run", str(file)])


def test_an_interrupt_is_no_traceback(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = types.ModuleType("kms.app")
    monkeypatch.setattr(beginning, "harden", lambda: None)

    def run(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "kms.app", app)
    monkeypatch.setattr(app, "run", run, raising=False)

    assert main(["run", str(file)]) == 130


# ---- a running node -------------------------------------------------------------------------


async def test_status_shows_links_streams_and_alarms(
    node: FakeNode, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await command("status", file) == 0

    shown = capsys.readouterr().out
    for word in ("A ready", "10.1 kbit/s", "9.8 MiB", "silent 3", "0.12 [of] 0.11", "2 open, 1"):
        assert word in shown
    assert "half within 2 ms" in shown


async def test_status_as_json_is_one_object(
    node: FakeNode, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await command("status", file, "--json") == 0

    fields = json.loads(capsys.readouterr().out)
    assert fields["state"] == "ready"
    assert fields["links"][0]["outgoing"]["granted"] == 2024


async def test_each_command_reports_in_words_and_as_json(
    node: FakeNode, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words, fields in (
        ("rekey", "epoch 4 seals the store", {"epoch": 4}),
        ("reload", "2 applications more", {"changed": ["2 applications more"]}),
        ("stop", "the node is stopping", {"state": "stopping"}),
    ):
        assert await command(name, file) == 0
        assert capsys.readouterr().out.strip() == words
        assert await command(name, file, "--json") == 0
        assert json.loads(capsys.readouterr().out) == fields


async def test_unseal_reads_the_passphrase_from_a_file_only_its_owner_reads(
    node: FakeNode, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site.private(tmp_path / "passphrase", "correct horse\n")

    assert await command("unseal", file, "--passphrase-file", path) == 0
    path.chmod(0o644)
    assert await command("unseal", file, "--passphrase-file", path) == 1

    shown = capsys.readouterr()
    assert node.told == [("unseal", b"correct horse")]
    assert "chmod 600" in shown.err
    assert "correct horse" not in shown.out + shown.err


async def test_a_link_is_added_and_restarted_with_its_secret(
    node: FakeNode, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await command("link-secret", "A", "B", "--directory", tmp_path, "--json") == 0
    made = json.loads(capsys.readouterr().out)
    secret, name = made["files"]["A"], made["secret_id"]

    assert await command("link", "add", file, "B", "--address", "h:1", "--secret", secret) == 0
    assert await command("link", "restart", file, secret) == 0

    assert [told[:4] for told in node.told] == [
        ("add", "B", "h:1", name),
        ("restart", ("A", "B"), name, node.told[1][3]),
    ]


# ---- files ----------------------------------------------------------------------------------


def test_check_says_what_it_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file), "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "node": "A",
        "links": ["A~B"],
        "devices": ["alice-1"],
        "applications": 2,
    }


async def test_audit_verify_is_status_0_for_a_whole_journal_and_1_for_another(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file.parent / "state" / "audit.jsonl"
    journal = await FileJournal.open(path)
    head = await journal.append([entry(1), entry(2)])
    await journal.aclose()

    assert await command("audit", "verify", file) == 0
    assert await command("audit", "verify", path, "--head", f"2:{head.hash}") == 0
    assert f"record 2, head {head.hash}" in capsys.readouterr().out
    assert await command("audit", "verify", path, "--head", f"3:{head.hash}", "--json") == 1
    assert json.loads(capsys.readouterr().out)["whole"] is False
    assert await command("audit", "verify", path, "--head", "3:x") == 1
    path.write_bytes(path.read_bytes().replace(b"sae:camera.A", b"sae:camera.C", 1))
    assert await command("audit", "verify", path) == 1
    assert "line 1 is not an audit record, or was altered" in capsys.readouterr().err


async def test_audit_verify_reads_all_files_and_says_what_was_retired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.jsonl"
    for first, keep_ms in ((0, None), (40, 25 * DAY_MS)):
        await write(path, first, 40, keep_ms)
    assert 0 == await command("audit", "verify", path, "--json")
    fields = json.loads(capsys.readouterr().out)
    assert 0 == await command("audit", "verify", path)

    assert (True, True) == (fields["whole"], fields["retired"] > 0)
    assert f"records 1 to {fields['retired']} were retired" in capsys.readouterr().out


def test_certificates_are_made_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pki", "ca", str(tmp_path / "pki")]) == 0
    capsys.readouterr()
    words = ["pki", "issue", str(tmp_path / "pki"), "kms:A", "--host", "127.0.0.1", "--days", "2"]
    assert main([*words, "--json"]) == 0

    files = json.loads(capsys.readouterr().out)
    assert set(files) == {"certificate", "key", "ca"}
    assert all(Path(path).is_file() for path in files.values())
    assert main(["pki", "ca", str(tmp_path / "pki")]) == 1, "never over an authority"


# ---- the process ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.processes
def test_without_assertions_the_command_refuses_to_start() -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "kms.cli", "--help"], capture_output=True, text=True, cwd=ROOT
    )

    assert done.returncode == 2
    assert done.stderr.startswith("error: python -O drops the assertions\nhint: ")


@pytest.mark.slow
@pytest.mark.processes
def test_help_does_not_wait_for_what_run_needs() -> None:
    script = "import sys; from kms.cli import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )

    loaded = set(done.stdout.splitlines()[-1].split())
    assert "kms.cli" in loaded
    assert loaded.isdisjoint({"trio", "quart", "hypercorn", "cryptography", "sqlite3", "kms.app"})
