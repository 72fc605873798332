"""The numerics of flows: couplings, interpolants, objectives, fields, training, inference.

Nothing here reads, writes, prints, plots or seeds.
"""
