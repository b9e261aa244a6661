"""Fuzz targets: what strangers send, as bytes that a fuzzer may choose.

A target is a module with ``one_input(data)``, which raises if anything is wrong.
``python -m tests.fuzz.TARGET tests/fuzz/corpus/TARGET -max_total_time=20`` fuzzes it by atheris;
``tests/fuzz/test_corpus.py`` runs it over the committed corpus, where every regression stays.
"""

from typing import Final

TARGETS: Final = (
    "peer_messages",
    "peer_frames",
    "device_frames",
    "application",
    "frames",
    "keys",
)
