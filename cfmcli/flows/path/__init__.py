"""Paths: interpolants between the two ends of a pair."""
