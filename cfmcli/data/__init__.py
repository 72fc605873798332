"""Snapshots, times, transforms and toy data: the inputs of flows."""
