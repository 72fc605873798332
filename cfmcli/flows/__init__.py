"""Numerics of flows: couplings, interpolants, objectives, fields, training, inference.

Nothing here reads or writes files, prints, plots or chooses seeds.
"""
