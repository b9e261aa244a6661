"""The files of one good node in a directory, for tests to spoil one thing at a time."""

from pathlib import Path

NODE = """\
[node]
name = "A"
directory = "state"

[tls]
certificate = "node.pem"
key = "node.key"
ca = "ca.pem"

[network]
file = "network.toml"

[[link]]
peer = "B"
address = "127.0.0.1:7444"

[[device]]
name = "alice-1"
link = "B"
type = "qkd-socket"
address = "127.0.0.1:9001"
ksid = "6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c"
source = "qkd:alice-1.A"
destination = "qkd:bob-1.B"
"""

NETWORK = """\
nodes = ["A", "B"]
links = [["A", "B"]]

[[application]]
sae = "sae:camera.A"
node = "A"

[[application]]
sae = "sae:camera.B"
node = "B"

[[allow]]
one = "sae:*.A"
other = "sae:*.B"

[policy]
revoked = []
"""


def build(directory: Path) -> Path:
    """A sound node.toml and everything it names; its path."""
    for name in ("node.pem", "ca.pem"):
        (directory / name).write_text("not looked into here\n")
    private(directory / "node.key", "not looked into here\n")
    (directory / "network.toml").write_text(NETWORK)
    path = directory / "node.toml"
    path.write_text(NODE)
    return path


def private(path: Path, text: str) -> Path:
    """A file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path
