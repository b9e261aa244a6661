"""The storage port on SQLite, with sealed key material in files beside it."""

from kms.adapters.store_sqlite.disk import Disk
from kms.adapters.store_sqlite.store import LIBRARY, Rewrapped, SQLiteStore

__all__ = ["LIBRARY", "Disk", "Rewrapped", "SQLiteStore"]
