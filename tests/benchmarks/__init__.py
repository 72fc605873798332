"""Benchmarks: what `cfm` costs beside what a user would run instead, side by side in one run."""
