"""Runs a target under atheris. Imported before anything of kms: what is imported later, by the
target, is instrumented, so that the fuzzer sees which branches an input takes."""

import os
import sys
from importlib import import_module
from typing import Final

PLANT: Final = "KMS_FUZZ_PLANT"
"""Set in the environment: the target has a bug (``planted``)."""


def main(name: str) -> None:
    """Fuzzes until libFuzzer's options (``sys.argv``) say stop; ends the process."""
    import atheris  # type: ignore[import-untyped]  # it has no types

    with atheris.instrument_imports(include=["kms"]):
        target = import_module(f"tests.fuzz.{name}")
    if PLANT in os.environ:
        import_module("tests.fuzz.planted")
    atheris.Setup(sys.argv, target.one_input)
    atheris.Fuzz()
