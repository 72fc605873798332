"""Couplings: joint distributions of source and target, as plans, index pairs and pair sources."""
