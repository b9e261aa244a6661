"""Properties of the code itself, which no review should have to look for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOMAIN = sorted((ROOT / "kms/domain").glob("*.py"))
CODE = sorted((ROOT / "kms").rglob("*.py"))

IMPURE = {
    "asyncio",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "trio",
}
# A file past this wants a second noun found in it.
LINES_MAX = 400
TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "README.md",
    "conf",
    "docs",
    "kms",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
    "tests",
}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOMAIN, ids=name_of)
def test_the_domain_is_pure(path: Path) -> None:
    """No I/O, clock, randomness, thread or await below ``kms/domain``."""
    tree = ast.parse(path.read_text("utf-8"))
    roots = {each.split(".")[0] for each in imports(tree)}
    outward = {each for each in imports(tree) if re.match(r"kms\.(?!domain\b)", each)}
    awaits = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert set() == roots & IMPURE
    assert set() == outward
    assert [] == awaits
    assert set() == calls & {"open", "print", "input", "exec", "eval"}


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_every_file_opens_with_its_reason(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))

    assert ast.get_docstring(tree), f"{name_of(path)} needs a docstring that says what it is for"


def test_no_file_has_grown_a_second_noun() -> None:
    long = {
        name_of(path): lines
        for path in CODE
        if (lines := len(path.read_text("utf-8").splitlines())) > LINES_MAX
    }

    assert {} == long


def test_every_limit_says_why() -> None:
    """Each group of limits begins with a comment that is not a headline."""
    text = (ROOT / "kms/domain/limits.py").read_text("utf-8")
    groups = [group for group in re.split(r"\n\s*\n", text) if ": Final" in group]
    bare = [group for group in groups if not group.startswith("# ") and "KIB: Final" not in group]

    assert [] == bare


def test_no_secret_is_formatted_into_text() -> None:
    """``repr`` of a Secret shows its length only; nothing calls ``hex`` on an exposed view."""
    guilty = [
        name_of(path)
        for path in CODE
        if re.search(r"expose\(\)(\[[^\]]*\])?\.hex\(", path.read_text("utf-8"))
        # The names of link secrets are random bytes that are not secret.
        and name_of(path) != "kms/link_secret.py"
    ]

    assert [] == guilty


def test_the_top_level_is_what_the_design_says() -> None:
    found = {
        path.name
        for path in ROOT.iterdir()
        if path.name != ".git" and not path.name.startswith((".venv", ".mypy", ".ruff", ".pytest"))
    }
    ignored = {".hypothesis", ".import_linter_cache", "__pycache__", "build", "dist", ".coverage"}
    wanted = {each for each in TOP_LEVEL if (ROOT / each).exists()}

    assert wanted == found - ignored


def test_documents_do_not_point_nowhere() -> None:
    """Relative links and quoted paths of the documents name files that exist."""
    broken = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            if not (path.parent / target).exists():
                broken.append(f"{name_of(path)}: {target}")

    assert [] == broken


def test_documents_quote_tests_that_exist() -> None:
    """A sentence is shown by a test as long as the test is there."""
    tests = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")]
    there = {name for text in tests for name in re.findall(r"def (test_\w+)\(", text)}
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    missing = [
        f"{name_of(path)}: {name}"
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for name in re.findall(r"`(test_\w+)`", path.read_text("utf-8"))
        if name not in there | files
    ]

    assert [] == missing


def test_code_quotes_documents_that_exist() -> None:
    quoted = {
        (name_of(path), target)
        for path in CODE
        for target in re.findall(r"docs/[\w/.-]+\.(?:md|svg)", path.read_text("utf-8"))
        if not (ROOT / target).exists()
    }

    assert set() == quoted
