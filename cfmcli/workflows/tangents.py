"""Tangents: directions in which curved paths leave and arrive."""

import numpy as np

from cfmcli.data.snapshots import Snapshots
from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.bends import BentPairs, bends
from cfmcli.flows.coupling.chains import ChainedPairs, Chains
from cfmcli.flows.coupling.following import FollowingPairs, following
from cfmcli.flows.coupling.pairing import PairSource, PlannedPairs
from cfmcli.flows.coupling.plans import ProductPlan
from cfmcli.flows.dynamics.displacement import MOST_BYTES
from cfmcli.flows.path.curves import Bent, Dense
from cfmcli.flows.path.interpolants import Interpolant
from cfmcli.flows.streams import Streams

LINK_BYTES = 48
"""Bytes per pair of a plan that splines follow in both directions."""


def led(
    pairs: list[PairSource],
    path: Interpolant,
    snapshots: Snapshots,
    streams: Streams,
) -> list[PairSource]:
    """Add the tangents that a path needs, if any, to the pairs of every segment.

    Args:
        pairs: pairs of each segment.
        path: path between the pairs.
        snapshots: the clouds in flow coordinates.
        streams: the run's randomness.

    Raises:
        ConfigError: if tangents are needed but the pairs are not planned over whole clouds.
    """
    dim, times = int(snapshots.kept[0].points.shape[1]), np.array(snapshots.timeline.times)
    if isinstance(path, Bent):
        found = bends(snapshots.moments.means, times)
        return [BentPairs(own, bend) for own, bend in zip(pairs, found, strict=True)]
    if isinstance(path, Dense):
        ways = [following(own, dim, k, streams) for k, own in enumerate(pairs)]
        return [FollowingPairs(own, dim, way) for own, way in zip(pairs, ways, strict=True)]
    return _chained(pairs, snapshots, dim) if path.needs_tangents else pairs


def _chained(pairs: list[PairSource], snapshots: Snapshots, dim: int) -> list[PairSource]:
    """Add tangents of the splines through chains of pairs."""
    planned = [source for source in pairs if isinstance(source, PlannedPairs)]
    if len(planned) < len(pairs):
        raise ConfigError(
            "Splines follow points through plans over whole clouds: use --scope dataset, a source "
            "of points and no --label-key, or --interpolant linear."
        )
    for n0, n1 in (p.plan.shape for p in planned if isinstance(p.plan, ProductPlan)):
        if n0 * n1 * LINK_BYTES > MOST_BYTES:
            raise ConfigError(
                f"Splines through {n0} x {n1} random pairs need {n0 * n1 * LINK_BYTES * 1e-9:.0f} "
                "GB: use --coupling exact."
            )
    if any((side <= 0).any() for p in planned for side in p.plan.marginals()):
        raise ConfigError(
            "Splines follow every point through all snapshots, and this coupling leaves some out: "
            "use --coupling exact."
        )
    times = np.array(snapshots.timeline.times)
    chains = Chains(tuple(planned), times, dim)
    return [ChainedPairs(chains, k, own) for k, own in enumerate(planned)]
