"""The simulated device pair."""
