"""Metrics: distances between weighted clouds, shape of paths, calibration of probabilities.

Every distance is `f(x, y, a, b, ...) -> float`: x is the cloud to judge, y the reference, a and b
their weights. All are computed in float64. Those that are defined by their squares are returned as
roots, except the Sinkhorn divergence.
"""

from cfmcli.metrics.calibration import Bin, brier, calibration_error, entropy, reliability
from cfmcli.metrics.distances import energy_distance, median_bandwidth, mmd, sliced_w2, w1, w2
from cfmcli.metrics.entropic import default_reg, sinkhorn_divergence
from cfmcli.metrics.floors import Distance, floor
from cfmcli.metrics.paths import curvature, normalized_path_energy, path_energy, straightness

__all__ = [
    "Bin",
    "Distance",
    "brier",
    "calibration_error",
    "curvature",
    "default_reg",
    "energy_distance",
    "entropy",
    "floor",
    "median_bandwidth",
    "mmd",
    "normalized_path_energy",
    "path_energy",
    "reliability",
    "sinkhorn_divergence",
    "sliced_w2",
    "straightness",
    "w1",
    "w2",
]
