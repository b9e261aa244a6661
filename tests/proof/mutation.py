"""Would the tests notice? Every small change to the code that keeps I1, tried against them.

``make mutation`` runs it, in an environment of its own; docs/mutation.md has the last figures.
``python -m tests.proof.mutation window pad`` tries some files only.

Rules: mutants are mutmut's, all of them, but for those that change nothing except the sentence of
an assertion: it is for a person. A mutant is killed when a test fails under it or never ends. A
survivor is printed as its difference. Nothing is excused here.

Theory of operation. mutmut makes the mutants, but its own loop collects the tests again for each
one and runs them in any order: five seconds a mutant, hours for these files. Here the tests are
collected once, in a copy of the tree. A first child runs them all and tells which functions each
test reaches, and how long it takes. Then each mutant has a child, forked from the process that has
everything imported, which runs the tests that reach its function, quickest first, until one fails.
"""

import ast
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final

import pytest

FILES: Final = (
    "window",
    "extents",
    "pad",
    "otp",
    "frame",
    "hello",
    "greeting",
    "agreement",
    "agreedlog",
    "appendlog",
    "bootstrap",
    "outgoing",
    "linkguard",
    "comparison",
    "streamagreement",
)
"""of kms/domain; ``channel`` is an interface without a statement"""

# Quick and the same each time; what takes seconds without being about these files is left out.
TESTS: Final = (
    "agreedlog",
    "agreement",
    "extents",
    "extents_cases",
    "frame",
    "greeting",
    "hello",
    "hello_outcomes",
    "link",
    "linkguard",
    "neighbour_hostile",
    "node",
    "node_events",
    "old_store",
    "outgoing",
    "otp",
    "pad",
    "pads_tiny",
    "peer_vectors",
    "session",
    "streams_agree",
    "streams_close",
    "streams_getkey",
    "streams_open",
    "streams_parts",
    "window",
    "window_bytes",
    "wire",
)

# A survivor costs the time of all tests that reach it.
_TEST_SECONDS_MAX: Final = 1.0
_MEMORY_BYTES_MAX: Final = 4 * 1024**3


class Mutants:
    """The mutated files of a tree, imported."""

    def __init__(self, tree: Path, files: Iterable[str]) -> None:
        """The files in ``tree`` are mutated in place."""
        from mutmut.mutation.file_mutation import (  # type: ignore[import-not-found]  # make mutation
            mutate_file_contents,
        )

        self.names: dict[str, list[str]] = {}
        self._functions: dict[str, dict[str, ast.AST]] = {}
        for file in files:
            path = tree / "kms" / "domain" / f"{file}.py"
            made = mutate_file_contents(str(path), path.read_text())
            path.write_text(made.code)
            found = {
                node.name: node
                for node in ast.walk(ast.parse(made.code))
                if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name
            }
            self._functions[file] = {name: _without_sentences(node) for name, node in found.items()}
            self.names[file] = [
                name for name in made.mutant_names if not self._is_only_prose(file, name)
            ]

    def _is_only_prose(self, file: str, name: str) -> bool:
        functions = self._functions[file]
        return ast.dump(functions[name]) == ast.dump(functions[_original(name)])

    def difference(self, file: str, name: str) -> str:
        """What the mutant changes, for a person."""
        before, after = (
            ast.unparse(self._functions[file][each]).splitlines()
            for each in (_original(name), name)
        )
        changed = [
            line
            for line in unified_diff(before, after, lineterm="", n=0)
            if not line.startswith(("---", "+++", "@@"))
        ]
        return "\n    ".join(changed)

    def apply(self, file: str, name: str) -> None:
        """This process runs the mutant."""
        module = importlib.import_module(f"kms.domain.{file}")
        from mutmut.mutation.trampoline import (  # type: ignore[import-not-found]
            set_mutant_under_test,
        )

        set_mutant_under_test(f"kms.domain.{file}.{name}")
        _install(module, _base(name), name)

    def without_trampolines(self) -> None:
        """Methods are called directly: a trampoline costs more than most of them. Functions keep
        theirs, for other modules hold them by name."""
        for file, names in self.names.items():
            module = importlib.import_module(f"kms.domain.{file}")
            for base in {_base(name) for name in names}:
                _install(module, base, f"{base}__mutmut_orig")


class Loop:
    """The pytest plugin that runs the collected tests once per mutant."""

    def __init__(self, mutants: Mutants) -> None:
        self._mutants = mutants
        self.survivors: dict[str, list[str]] = {file: [] for file in mutants.names}
        self.unreached: list[str] = []
        self.timeouts = 0

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        reached, seconds = _survey(session, self._mutants)
        self._mutants.without_trampolines()
        for file, names in self._mutants.names.items():
            started = time.monotonic()
            for name in names:
                base = f"kms.domain.{file}.{_base(name)}"
                tests = sorted(reached[base], key=seconds.__getitem__)
                if not tests:
                    self.unreached.append(f"{file}.{name}")
                if not tests or not self._killed(session, file, name, tests, seconds):
                    self.survivors[file].append(name)
                    print(f"\n  {name}\n    {self._mutants.difference(file, name)}", flush=True)
            self._report(file, time.monotonic() - started)
        return True

    def _killed(
        self,
        session: pytest.Session,
        file: str,
        name: str,
        tests: list[int],
        seconds: dict[int, float],
    ) -> bool:
        child = os.fork()
        if child == 0:
            _silence()
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
            self._mutants.apply(file, name)
            for test in tests:
                # A test that never ends is ended by its use of the processor, with the child.
                signal.setitimer(signal.ITIMER_PROF, 1 + 5 * seconds[test])
                if not _passes(session.items[test]):
                    os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        self.timeouts += os.WIFSIGNALED(status)
        return status != 0

    def _report(self, file: str, seconds: float) -> None:
        total, lost = len(self._mutants.names[file]), self.survivors[file]
        killed = total - len(lost)
        percent = 100 * killed / max(total, 1)
        print(f"\n{file}: {killed} of {total} killed, {percent:.1f} %, {seconds:.0f} s", flush=True)


def _survey(
    session: pytest.Session, mutants: Mutants
) -> tuple[dict[str, set[int]], dict[int, float]]:
    """Which tests reach each function, and how long each test takes. All of them must pass."""
    from mutmut.mutation import trampoline  # type: ignore[import-not-found]

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _silence()
        hits: set[str] = set()
        trampoline.record_trampoline_hit = lambda name, caller=None: hits.add(name)
        trampoline.set_mutant_under_test("stats")
        found: list[list[str]] = []
        for item in session.items:
            hits.clear()
            failed = [] if _passes(item) else [""]
            found.append([*failed, *sorted(hits)])
        trampoline.set_mutant_under_test("")
        mutants.without_trampolines()
        taken = []
        for item in session.items:
            started = time.process_time()
            _passes(item)
            taken.append(time.process_time() - started)
        with os.fdopen(writer, "w") as out:
            json.dump([found, taken], out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as back:
        found, taken = json.load(back)
    os.waitpid(child, 0)
    reached: dict[str, set[int]] = defaultdict(set)
    for number, names in enumerate(found):
        if names[:1] == [""]:
            pytest.exit(f"{session.items[number].nodeid} fails without any mutant", returncode=2)
        for name in names:
            if taken[number] <= _TEST_SECONDS_MAX:
                reached[name].add(number)
    return reached, dict(enumerate(taken))


def _passes(item: pytest.Item) -> bool:
    from _pytest.runner import runtestprotocol

    item._initrequest()  # type: ignore[attr-defined]  # as pytest does before each run
    return all(not report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def _install(module: ModuleType, base: str, name: str) -> None:
    """The method that ``base`` names is this version of it; functions are left alone."""
    if "ǁ" not in base:
        return
    _, owner, method = base.split("ǁ")
    setattr(getattr(module, owner), method, getattr(module, f"mutants_{base}__mutmut")[_key(name)])


def _key(name: str) -> str:
    return "_mutmut_orig" if name.endswith("__mutmut_orig") else name


def _base(name: str) -> str:
    return name.rpartition("__mutmut_")[0]


def _original(name: str) -> str:
    return f"{_base(name)}__mutmut_orig"


def _without_sentences(node: ast.FunctionDef) -> ast.AST:
    for each in ast.walk(node):
        if isinstance(each, ast.Assert):
            each.msg = None
    node.name = _base(node.name).rpartition("ǁ")[2].removeprefix("x_")
    return node


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def main(files: list[str]) -> int:
    """0 when every file has at least 90 % of its mutants killed."""
    from hypothesis import Phase, settings

    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        report_multiple_bugs=False,
    )
    settings.load_profile("mutation")
    here = Path(__file__).resolve().parents[2]
    with TemporaryDirectory(prefix="kms-mutation-") as name:
        tree = Path(name)
        for part in ("kms", "tests", "docs"):
            shutil.copytree(here / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(here / "pyproject.toml", tree)
        (tree / "setup.cfg").write_text("[mutmut]\nsource_paths = kms\n")
        os.chdir(tree)
        mutants = Mutants(tree, files or FILES)
        sys.path[:] = [str(tree), *(each for each in sys.path if Path(each or ".") != here)]
        for module in [each for each in sys.modules if each.split(".")[0] in ("kms", "tests")]:
            del sys.modules[module]
        loop: Any = Loop(mutants)
        tests = [f"tests/domain/test_{each}.py" for each in TESTS]
        present = [each for each in tests if Path(each).exists()]
        plain = [
            "-q",
            "-s",
            "--tb=no",
            "-p",
            "no:cacheprovider",
            "-o",
            "timeout=0",
            "-o",
            "addopts=",
            "-o",
            "filterwarnings=",
        ]
        code = pytest.main([*plain, *present], plugins=[loop])
        os.chdir(here)
    if code:
        return int(code)
    total = sum(len(each) for each in mutants.names.values())
    lost = sum(len(each) for each in loop.survivors.values())
    print(f"\nall: {total - lost} of {total} killed, {100 * (total - lost) / total:.1f} %")
    print(f"{loop.timeouts} of them never ended; {len(loop.unreached)} survivors no test reaches")
    return int(any(10 * len(loop.survivors[f]) > len(n) for f, n in mutants.names.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
