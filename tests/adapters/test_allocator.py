"""What the allocator keeps; in a process of its own, because it is for good."""

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource
from kms.adapters.allocator import keep_large_buffers
{before}
bytearray(2**20)
began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    held = [bytearray(2**20) for _ in range(4)]
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began)
"""


def fresh_pages(before: str) -> int:
    """Pages that the kernel gave while the same memory was wanted a hundred times."""
    run = [sys.executable, "-c", _FAULTS.format(before=before)]
    return int(subprocess.run(run, capture_output=True, check=True, text=True).stdout)


def test_a_large_buffer_is_made_of_pages_the_process_has_already() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the GNU C library's own setting")

    assert fresh_pages("keep_large_buffers()") < fresh_pages("") / 4
