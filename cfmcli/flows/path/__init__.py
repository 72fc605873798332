"""Paths: what lies between the ends of a pair."""
