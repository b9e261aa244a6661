"""``kms app encrypt`` and ``decrypt``: what is not right leaves no output, and spends no key if it
can be seen before."""

import errno
import io
import json
import os
import secrets
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import trio

from kms.adapters.pki import create_ca, issue
from kms.cli.application import files, output_file
from kms.client.files import sealing
from tests.cli.app_world import A, AppWorld, B, app_world
from tests.client.faces import read_request, scripted

LATER, REFUSED, NOT_GENUINE = 3, 4, 5
CONTENTS = secrets.token_bytes(150_000)


@pytest.fixture
async def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[AppWorld]:
    async with app_world(tmp_path, capsys) as made:
        yield made


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    directory = tmp_path / "files"
    directory.mkdir()
    path = directory / "plan.pdf"
    path.write_bytes(CONTENTS)
    return path


async def crossed(world: AppWorld, plain: Path, *words: object) -> Path:
    """Encrypted by a; the original is gone, as at the other site."""
    await world.done("alice", "encrypt", plain, *words)
    plain.unlink()
    return plain.with_name(plain.name + ".kms")


# ---- what works -----------------------------------------------------------------------------


async def test_a_file_crosses_under_a_key_with_an_id(world: AppWorld, plain: Path) -> None:
    told = await world.done("alice", "encrypt", plain)
    hidden = plain.with_name("plan.pdf.kms")
    plain.unlink()
    read = await world.done("bob", "decrypt", hidden)

    assert CONTENTS == plain.read_bytes()
    assert (A, B, len(CONTENTS)) == (read["source"], read["destination"], read["bytes"])
    assert told["key_id"] == read["key_id"]
    assert 0o600 == stat.S_IMODE(plain.stat().st_mode)
    assert len(CONTENTS) < hidden.stat().st_size < 1.01 * len(CONTENTS)


@pytest.mark.parametrize("interface", ["004", "004-tls"])
async def test_a_file_crosses_under_the_next_key_of_a_stream(
    world: AppWorld, plain: Path, interface: str
) -> None:
    ksid = await world.stream()
    speaks = ("--interface", interface)

    hidden = await crossed(world, plain, "--ksid", ksid, *speaks)
    read = await world.done("bob", "decrypt", hidden, *speaks)

    assert CONTENTS == plain.read_bytes()
    assert (ksid, 0) == (read["ksid"], read["index"])


async def test_a_file_crosses_under_a_one_time_pad(world: AppWorld, plain: Path) -> None:
    ksid = await world.stream("--chunk", 65_536)

    hidden = await crossed(world, plain, "--ksid", ksid, "--one-time-pad")
    read = await world.done("bob", "decrypt", hidden)

    assert CONTENTS == plain.read_bytes()
    assert "one-time-pad" == read["cipher"]
    # A key for the tag, three of 64 KiB for 150,000 bytes; at both ends.
    assert 2 * [0, 1, 2, 3] == [index for _, _, index in world.northbound.delivered]


async def test_a_one_time_pad_is_made_of_keys_with_ids_too(world: AppWorld, plain: Path) -> None:
    plain.write_bytes(CONTENTS[:2000])

    hidden = await crossed(world, plain, "--one-time-pad")
    await world.done("bob", "decrypt", hidden)

    assert CONTENTS[:2000] == plain.read_bytes()
    assert [32, 1024, 1024] == [len(key.bits) for key in world.kme.keys.values()]


async def test_output_has_the_name_that_was_asked_for(world: AppWorld, plain: Path) -> None:
    hidden, back = plain.with_name("x"), plain.with_name("y")
    await world.done("alice", "encrypt", plain, "--output", hidden)

    assert "--output" in await world.refused(1, "bob", "decrypt", hidden)
    status, out, err = await world.app("bob", "decrypt", hidden, "--output", back)

    assert (0, f"{back}: 150000 bytes from {A}, genuine\n", "") == (status, out, err)
    assert CONTENTS == back.read_bytes()


# ---- what does not --------------------------------------------------------------------------


@pytest.mark.parametrize("place", [200, 1000, 70_000, -1])
@pytest.mark.parametrize("words", [(), ("--one-time-pad",)])
async def test_an_altered_file_leaves_no_output(
    world: AppWorld, plain: Path, place: int, words: tuple[str, ...]
) -> None:
    ksid = await world.stream("--chunk", 4096)
    hidden = await crossed(world, plain, "--ksid", ksid, *words)
    bent = bytearray(hidden.read_bytes())
    bent[place] ^= 1
    hidden.write_bytes(bent)

    said = await world.refused(NOT_GENUINE, "bob", "decrypt", hidden)

    assert f"error: {hidden}: it " in said
    assert [hidden] == list(plain.parent.iterdir())


async def test_a_file_that_is_cut_off_costs_no_key_and_opens_once_it_is_whole(
    world: AppWorld, plain: Path
) -> None:
    hidden = await crossed(world, plain)
    whole = hidden.read_bytes()
    hidden.write_bytes(whole[:-1])

    assert "cut off" in await world.refused(NOT_GENUINE, "bob", "decrypt", hidden)
    hidden.write_bytes(whole)
    await world.done("bob", "decrypt", hidden)

    assert CONTENTS == plain.read_bytes()


async def test_a_file_is_decrypted_once(world: AppWorld, plain: Path) -> None:
    ksid = await world.stream()
    by_id, by_index = plain.with_name("1.kms"), plain.with_name("2.kms")
    await world.done("alice", "encrypt", plain, "--output", by_id)
    await world.done("alice", "encrypt", plain, "--ksid", ksid, "--output", by_index)
    for hidden, status in ((by_id, REFUSED), (by_index, LATER)):
        await world.done("bob", "decrypt", hidden)
        said = await world.refused(status, "bob", "decrypt", hidden, "--force")
        assert "the file's key was read before" in said
        assert CONTENTS == hidden.with_suffix("").read_bytes(), "the first output stays"


async def test_a_file_for_others_costs_no_key(world: AppWorld, plain: Path) -> None:
    hidden = await crossed(world, plain)

    said = await world.refused(1, "alice", "decrypt", hidden)
    other = await world.refused(1, "bob", "decrypt", hidden, "--peer", "sae:app.c")
    await world.done("bob", "decrypt", hidden, "--peer", A)

    assert f"is for {B}, and we are {A}" in said
    assert f"from {A}, not sae:app.c" in other


async def test_the_header_of_a_stranger_cannot_steer_a_terminal(
    world: AppWorld, plain: Path
) -> None:
    hidden = await crossed(world, plain)
    data = hidden.read_bytes()
    bent = data.replace(b"sae:app.b", b"\\u001b[2J", 1)
    hidden.write_bytes(bent)

    said = await world.refused(1, "bob", "decrypt", hidden)

    assert "is for ?[2J, and" in said


async def test_the_wrong_interface_for_a_file_is_told(world: AppWorld, plain: Path) -> None:
    hidden = await crossed(world, plain)

    said = await world.refused(1, "bob", "decrypt", hidden, "--interface", "004-tls")

    assert "interface 014, not 004-tls" in said


async def test_what_is_no_encrypted_file_is_told(world: AppWorld, plain: Path) -> None:
    said = await world.refused(NOT_GENUINE, "bob", "decrypt", plain, "--output", plain.parent / "x")

    assert "was not made by encrypting" in said
    os.mkfifo(plain.parent / "pipe.kms")
    for name in ("none.kms", "pipe.kms"):
        assert "is no file" in await world.refused(1, "bob", "decrypt", plain.parent / name)
        assert "is no file" in await world.refused(1, "alice", "encrypt", plain.parent / name)


async def test_an_output_that_is_there_costs_no_key(world: AppWorld, plain: Path) -> None:
    hidden = plain.with_name("plan.pdf.kms")
    hidden.write_text("mine")

    assert "--force" in await world.refused(1, "alice", "encrypt", plain)
    assert ("mine", []) == (hidden.read_text(), world.kme.asked)
    await world.done("alice", "encrypt", plain, "--force")
    assert "--force" in await world.refused(1, "bob", "decrypt", hidden)
    await world.done("bob", "decrypt", hidden, "--force")


async def test_keys_too_short_to_encrypt_with_are_told(world: AppWorld, plain: Path) -> None:
    ksid = await world.stream("--chunk", 16)

    said = await world.refused(REFUSED, "alice", "encrypt", plain, "--ksid", ksid)

    assert "16 bytes, and 32 are wanted" in said
    assert [] == world.northbound.delivered


async def test_a_pad_that_ends_half_way_leaves_no_output(
    world: AppWorld, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = 0

    def draw_then_nothing() -> None:
        nonlocal drawn
        drawn += 1
        world.kme.empty = drawn > 3

    enc_keys = world.kme._enc_keys

    def counted(*words: object) -> object:
        draw_then_nothing()
        return enc_keys(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(type(world.kme), "_enc_keys", lambda self, *words: counted(*words))

    await world.refused(LATER, "alice", "encrypt", plain, "--one-time-pad")

    assert [plain] == list(plain.parent.iterdir())


async def test_no_stream_is_opened_for_the_file_of_a_stranger(world: AppWorld, plain: Path) -> None:
    ksid = await world.stream()
    hidden = await crossed(world, plain, "--ksid", ksid)
    await world.done("alice", "close", "--ksid", ksid)
    other = str(uuid4())
    hidden.write_bytes(hidden.read_bytes().replace(ksid.encode(), other.encode(), 1))

    said = await world.refused(LATER, "bob", "decrypt", hidden)

    assert "the stream is not open" in said
    assert UUID(other) not in world.northbound._streams


async def test_a_stream_of_shorter_keys_than_its_file_says_is_told(
    world: AppWorld, plain: Path
) -> None:
    long, short = await world.stream(), await world.stream("--chunk", 16)
    hidden = await crossed(world, plain, "--ksid", long)
    hidden.write_bytes(hidden.read_bytes().replace(long.encode(), short.encode(), 1))

    said = await world.refused(NOT_GENUINE, "bob", "decrypt", hidden)

    assert "32 bytes, and the stream's have 16" in said


async def test_a_full_disk_leaves_no_output(
    world: AppWorld, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = await crossed(world, plain)

    def full(*words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for call in ("posix_fallocate", "fsync"):
        with monkeypatch.context() as patched:
            patched.setattr(output_file.os, call, full)
            said = await world.refused(1, "bob", "decrypt", hidden)
            assert "No space left on device" in said
        assert [hidden] == list(plain.parent.iterdir())
        fetched = [path for _, _, path in world.kme.asked if path.endswith("dec_keys")]
        # What is known beforehand costs no key.
        assert (call == "fsync") == bool(fetched)


async def test_an_interrupted_decryption_leaves_no_output(
    world: AppWorld, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = await crossed(world, plain)

    def interrupted(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sealing, "_read_sealed", interrupted)
    status, _, _ = await world.app("bob", "decrypt", hidden)

    assert 130 == status
    assert [hidden] == list(plain.parent.iterdir())


async def test_a_person_who_waits_for_a_long_file_sees_how_far_it_is(
    world: AppWorld, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert (await world.app("alice", "encrypt", plain))[0] == 0
    assert terminal.getvalue() == "", "short"

    monkeypatch.setattr(files, "_SHOWN_BYTES", 1)
    assert (await world.app("alice", "encrypt", plain, "--force"))[0] == 0

    assert "Encrypting plan.pdf" in terminal.getvalue()


async def test_encrypting_names_what_it_needs(world: AppWorld, plain: Path) -> None:
    words = ("encrypt", plain, "--interface", "004")

    assert "--ksid KSID" in await world.refused(1, "alice", *words)
    demo = json.loads((world.directory / "demo.json").read_text())
    demo["applications"].append(demo["applications"][1] | {"sae_id": "sae:app.c"})
    (world.directory / "demo.json").write_text(json.dumps(demo))
    assert "--peer sae:NAME" in await world.refused(1, "alice", "encrypt", plain)


@pytest.mark.slow
@pytest.mark.processes
async def test_a_command_that_is_asked_to_end_leaves_no_output(plain: Path, tmp_path: Path) -> None:
    """Against a node that never answers."""
    pki = tmp_path / "pki"
    create_ca(pki)
    own = issue(pki, A)
    proof = ("--certificate", own.certificate, "--key", own.key, "--ca", own.ca)

    async def silent(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await read_request(stream)
        process.send_signal(signal.SIGTERM)
        await trio.sleep_forever()

    async with scripted(issue(pki, "kms:alice", ["127.0.0.1"]), silent) as port:
        url = f"https://127.0.0.1:{port}"
        words = ("app", "encrypt", plain, "--peer", B, "--url", url, *proof)
        process = subprocess.Popen([sys.executable, "-m", "kms.cli", *map(str, words)])
        status = await trio.to_thread.run_sync(process.wait)

    assert 130 == status
    assert [plain] == list(plain.parent.iterdir())
