"""Objectives: what is regressed on a path, and how the heads are read."""
