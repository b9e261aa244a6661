"""Whole nodes with the real shell over adapters in memory, in one process and on trio's clock."""
