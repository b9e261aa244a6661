"""One network for all tests that leave it as they found it: a start takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.network import RealNetwork, real_network

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.processes)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNetwork]:
    """The shared network itself; tests take ``network``."""
    with real_network(tmp_path_factory.mktemp("net")) as network:
        yield network


@pytest.fixture
def network(standing: RealNetwork) -> RealNetwork:
    """The shared network, ready. Whoever hurts it heals it."""
    standing.until_ready()
    return standing
