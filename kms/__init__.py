"""A Key Management System for quantum key distribution networks, one process per site."""

__version__ = "0.1.0"
