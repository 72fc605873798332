"""Courses: points carried to several times, returned in the order of the times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cfmcli import io
from cfmcli.data.arrays import Array
from cfmcli.data.snapshots import BackedCloud
from cfmcli.flows.dynamics.flow import CHUNK
from cfmcli.flows.dynamics.motion import Motion
from cfmcli.flows.objective.reading import Guide
from cfmcli.model import Model
from cfmcli.requests import InterpolateRequest
from cfmcli.workflows import results, shards, verbs
from cfmcli.workflows.frames import Frame, Piece

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Course:
    """The points of a cloud and the times they are carried to.

    Args:
        model: the model whose flow carries them.
        how: the motion.
        cloud: the points at the start.
        times: requested clock times.
        part: the shard of points to process.
        request: the request.
        weight: name of the column of masses, if mass varies.
    """

    model: Model
    how: Motion
    cloud: BackedCloud
    times: Sequence[float]
    part: shards.Part
    request: InterpolateRequest
    weight: str = "weight"

    @property
    def frames(self) -> list[Frame]:
        """Frames of the points, in the order of their times."""
        obs = self.cloud.head.obs.iloc[self.part.own]
        bare = verbs.apart(obs.assign(trajectory=obs.index, **self._masses(np.zeros(len(obs)))))
        return [Frame(time, self._named(bare, time)) for time in self.times]

    def pieces(self) -> Iterator[tuple[float, Piece, int]]:
        """Yield time, points and evaluations, frame after frame."""
        head, count = self.cloud.head, len(self.times)
        guide = self.model.guide(head.obs, self.request.condition)
        cuts = list(self.part.pieces(count * max(1, len(self.model.chain.genes))))
        masses: list[list[Array]] = []
        with io.spilling(self.request.output) as room:
            nfe = 0
            for cut in cuts:
                x, own = self.cloud.read(cut.rows), guide and guide.of(cut.rows)
                moving = self.how.after(cut.blocks(CHUNK))
                paths = moving.trajectories(self.model.flow, x, self.times, head.time, own)
                for place in paths.points:
                    room.put(place)
                start = head.mass * head.weights[cut.rows]
                masses.append([paths.masses(k, start)[cut.kept] for k in range(count)])
                nfe = max(nfe, paths.nfe)
            for k, time in enumerate(self.times):
                for number, cut in enumerate(cuts):
                    place, own = room.get(count * number + k), guide and guide.of(cut.rows)
                    velocity = self._velocity(place, time, own)
                    piece = Piece(place, velocity, cut.kept, self._masses(masses[number][k]))
                    yield time, piece, nfe

    def _velocity(self, place: Array, time: float, guide: Guide | None) -> Array | None:
        """Velocities of points, if the output format can store them."""
        if not results.is_anndata(self.request.output):
            return None
        return self.model.flow.velocity(place, time, guide=guide)

    def _masses(self, mass: Array) -> dict[str, Array]:
        """Column of masses, if mass varies."""
        return {self.weight: mass} if self.model.flow.varies else {}

    def _named(self, obs: "pd.DataFrame", time: float) -> "pd.DataFrame":
        """Index annotations by names unique to point and time, if the output keeps names."""
        if not results.is_anndata(self.request.output):
            return obs
        names = results.unique_names(obs.index, np.full(len(obs), time))
        return obs.set_axis(names, axis=0)
