"""``kms demo`` as a user gives it, and the two files that others build on."""

import json
import subprocess
import sys
from pathlib import Path


def test_the_demonstration_delivers_equal_keys_and_says_so(tmp_path: Path) -> None:
    words = ("demo", "--keys", "10", "--json", "--dir", str(tmp_path / "demo"))
    done = subprocess.run(
        [sys.executable, "-m", "kms.cli", *words], capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    files = json.loads((tmp_path / "demo" / "demo.json").read_text())

    assert (10, 10, 0) == (told["keys_delivered"], told["keys_equal"], told["keys_different"])
    assert told["message_read"] == told["message_sent"]
    assert [node["name"] for node in files["nodes"]] == ["alice", "bob"]
    assert all(node["etsi004_url"].startswith("https://127.0.0.1:") for node in files["nodes"])
    assert all(node["etsi004_tls"].startswith("127.0.0.1:") for node in files["nodes"])
    assert all(node["etsi014_url"].startswith("https://127.0.0.1:") for node in files["nodes"])
    assert [app["node"] for app in files["applications"]] == ["alice", "bob"]
    for app in files["applications"]:
        assert Path(app["cert"]).is_file()
        assert Path(app["key"]).is_file()
        assert app["sae_id"] == f"sae:app.{app['node']}"
    assert Path(files["ca"]).is_file()


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-m", "kms.cli", "demo", "--dir", str(tmp_path)],
        capture_output=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 1
    assert b"hint: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
