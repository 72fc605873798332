"""Snapshots, times, transforms and toys: what flows learn from."""
