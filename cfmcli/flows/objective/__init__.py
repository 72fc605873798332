"""Objectives: what a field is regressed on along a path, and how its heads are read."""
