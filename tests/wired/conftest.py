"""One schedule per test: trio draws it from a seed."""

import pytest

from tests.wired.chance import scheduled_by


@pytest.fixture(autouse=True)
def _one_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduled_by(1)
