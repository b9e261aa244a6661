"""What the operator reads names every field, metric and command there is."""

import re
from pathlib import Path

import attrs
import pytest

from kms import config
from kms.adapters import sdn_file
from kms.adapters.operations.metrics import NodeCollector
from kms.cli import app
from kms.identity_section import NameEntry
from tests.cli.fake_node import FakeNode

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    "section",
    [
        *(field.type for field in attrs.fields(config.Config) if attrs.has(field.type)),
        config.LinkSection,
        NameEntry,
        config.DeviceSection,
        *config.DEVICE_TYPES.values(),
        sdn_file._File,
        sdn_file._Application,
        sdn_file._Allow,
        sdn_file._Policy,
    ],
    ids=lambda section: section.__name__,
)
def test_every_field_is_in_the_configuration_page(section: type) -> None:
    page = (DOCS / "configuration.md").read_text()
    named = set(re.findall(r"`(?:\[+)?(\w+)(?:\]+)?`", page))

    fields = {field.name for field in attrs.fields(section)}

    assert fields - named == set()


def test_every_metric_is_in_the_operations_page() -> None:
    page = (DOCS / "operations.md").read_text()
    named = set(re.findall(r"`(kms_\w+?)(?:_total)?`", page))

    families = {family.name for family in NodeCollector(FakeNode()).collect()}

    assert families - named == set()


def test_every_command_is_in_the_operations_page() -> None:
    page = (DOCS / "operations.md").read_text()
    names = {name for name in app if not name.startswith("-")}

    assert {name for name in names if f"`kms {name}" not in page} == set()
