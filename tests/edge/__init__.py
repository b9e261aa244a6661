"""The edge under hostile clients: I9, I10."""
