"""Laws of tasks: antithetic twins, stratified times, what travels with a pair, and resuming."""

from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

import numpy as np
import pytest
import torch
from torch import Tensor

from cfmcli import catalog
from cfmcli.flows.coupling.couplings import Independent
from cfmcli.flows.coupling.ends import CloudSource
from cfmcli.flows.coupling.layout import Layout, Points
from cfmcli.flows.coupling.pairing import BatchedPairs, PairSource
from cfmcli.flows.objective.latent_objectives import Denoiser, VelocityDenoiser
from cfmcli.flows.objective.objectives import Velocity
from cfmcli.flows.path.bridge import Brownian
from cfmcli.flows.path.curves import Spline
from cfmcli.flows.path.interpolants import Interpolant, Linear
from cfmcli.flows.path.onesided import OneSidedLinear
from cfmcli.flows.streams import Streams
from cfmcli.flows.training.tasks import Batch, Task
from cfmcli.flows.training.triple import built

STREAMS = Streams(4)
D, C = 2, 3
BATCHES = [(1, 4), (2, 3), (5, 4), (7, 1), (64, 5)]
each_size = pytest.mark.parametrize(("size", "count"), BATCHES)


def told_by(x: Points, width: int) -> Points:
    """What belongs to each point: a different number for each."""
    return np.asarray(np.cos(x[:, :1] * np.arange(1, width + 1)), dtype=np.float32)


@dataclass(frozen=True)
class Marked(PairSource):
    """Fresh pairs of points of which each carries its condition and its tangent."""

    tangents: bool = False

    def draw(self, block: int, n: int, segment: int, streams: Streams) -> tuple[Points, Points]:
        """Normal points."""
        rng = streams.numpy("marked", segment, block)
        rows = []
        for shift in (0, 5):
            x = (rng.standard_normal((n, D)) + shift).astype(np.float32)
            parts = [x, told_by(x, C), told_by(x + 1, D)]
            rows.append(np.hstack(parts if self.tangents else parts[:2]))
        return rows[0], rows[1]

    def parted(self, share: float, rng: np.random.Generator) -> tuple["Marked", None]:
        """No point comes twice, so there is none to keep aside."""
        return self, None


def marked(
    path: Interpolant | None = None,
    antithetic: bool = True,
    dropout: float = 0.0,
    segments: int = 1,
    tangents: bool = False,
) -> Task:
    """A task over marked pairs, on a Brownian bridge unless told otherwise."""
    pairs = [Marked(tangents)] * segments
    layout = Layout(D, C, tangents)
    return Task(pairs, path or Brownian(), VelocityDenoiser(antithetic), layout, dropout)


def rows_of(batch: Batch) -> list[tuple[float, ...]]:
    """Everything that twins share, by row: time, ends and condition."""
    assert batch.condition is not None
    shared = (batch.s, batch.draw.t, batch.ends.x0, batch.ends.x1, batch.condition)
    return [tuple(row) for row in torch.cat(shared, dim=1).tolist()]


def steps(found: Batch, size: int, count: int) -> list[Batch]:
    """The batch of each step, as training cuts them."""
    return [found.each(itemgetter(slice(k * size, (k + 1) * size))) for k in range(count)]


@each_size
def test_each_path_of_a_step_comes_with_its_mirror_image(size: int, count: int) -> None:
    """Twins share time, ends and condition, have z and -z; an odd batch has one without."""
    found = marked(segments=2, dropout=0.3).draw(3, size * count, size, STREAMS)
    everything: set[tuple[float, ...]] = set()
    for batch in steps(found, size, count):
        twins: dict[tuple[float, ...], list[Tensor]] = {}
        for row, z in zip(rows_of(batch), batch.draw.z, strict=True):
            twins.setdefault(row, []).append(z)
        sizes = sorted(len(group) for group in twins.values())
        assert sizes == [1] * (size % 2) + [2] * (size // 2)
        for group in twins.values():
            assert len(group) == 1 or torch.equal(group[0], -group[1])
        assert not everything & set(twins)
        everything |= set(twins)


def test_twins_lie_around_the_mean_of_their_path() -> None:
    """x+ and x- average to m_t, and so do their velocities to dm/dt."""
    size = 40
    draw = marked().draw(0, size, size, STREAMS).draw
    order = draw.t[:, 0].argsort(stable=True)
    x, velocity, mean_rate = (v[order] for v in (draw.x_t, draw.velocity, draw.mean_rate))
    t, ends = draw.t[order], marked().draw(0, size, size, STREAMS).ends
    still = Brownian().draw(draw.t, ends, torch.zeros_like(draw.z)).x_t[order]
    assert torch.equal(t[::2], t[1::2])
    torch.testing.assert_close((x[::2] + x[1::2]) / 2, still[::2], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        (velocity[::2] + velocity[1::2]) / 2, mean_rate[::2], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize(
    ("path", "margin"), [(Linear(), 1e-3), (Brownian(), 1e-3), (Linear(gamma="sine"), 1e-3)]
)
def test_times_meet_each_stratum_once_in_every_step(
    path: Interpolant, margin: float, antithetic: bool
) -> None:
    """As many strata as a step has times of its own, all within the margins."""
    size, count = 64, 5
    found = marked(path, antithetic).draw(3, size * count, size, STREAMS)
    twins = antithetic and path.has_latent
    for batch in steps(found, size, count):
        times = np.unique(batch.draw.t.double().numpy())
        inner = (times - margin) / (1 - 2 * margin)
        assert len(times) == (size // 2 if twins else size)
        assert np.floor(inner * len(times)).tolist() == list(range(len(times)))


@pytest.mark.parametrize(
    ("task", "margin"),
    [
        (Task([Marked()], Linear(), Velocity(), Layout(D, C)), 0.0),
        (Task([Marked()], Brownian(), Velocity(), Layout(D, C)), 1e-3),
        (marked(Linear(gamma="sine")), 1e-3),
        (Task([Marked()], OneSidedLinear(), Denoiser(), Layout(D, C)), 1e-2),
    ],
)
def test_times_keep_the_margin_of_path_and_objective(task: Task, margin: float) -> None:
    t = task.draw(0, 10_000, 10_000, STREAMS).draw.t
    assert margin <= float(t.min()) < margin + 1e-3
    assert 1 - margin - 1e-3 < float(t.max()) <= 1 - margin


@pytest.mark.parametrize(
    ("objective", "path", "twins"),
    [
        ("velocity+denoiser", "linear", False),
        ("velocity+denoiser", "spline", False),
        ("velocity+denoiser", "linear:sigma=0.1", True),
        ("v+score", "linear:gamma=quadratic", True),
        ("velocity", "brownian", True),
        ("velocity", "linear:gamma=sqrt", True),
        ("velocity", "linear:sigma=0.1", False),
        ("velocity", "linear:gamma=quadratic", False),
        ("velocity", "onesided-linear", False),
    ],
)
def test_twins_are_drawn_only_where_something_cancels(
    objective: str, path: str, twins: bool
) -> None:
    """A latent that is regressed on or whose rate explodes; elsewhere asking changes nothing."""
    along = catalog.build("interpolants", path)
    one, other = (
        Task(
            [Marked(tangents=True)],
            along,
            catalog.build("objectives", f"{objective}:antithetic={mirrored}"),
            Layout(D, C, tangents=True),
        ).draw(2, 60, 20, STREAMS)
        for mirrored in (True, False)
    )
    assert len(set(rows_of(other))) == 60
    assert len(set(rows_of(one))) == (30 if twins else 60)
    assert (rows_of(one) == rows_of(other)) is not twins
    assert torch.equal(one.draw.x_t, other.draw.x_t) is not twins


@pytest.mark.parametrize("antithetic", [True, False])
def test_latents_are_standard_normal(antithetic: bool) -> None:
    z = marked(antithetic=antithetic).draw(0, 40_000, 100, STREAMS).draw.z
    own = len(z) // 2 if antithetic else len(z)
    assert float(z.mean(dim=0).abs().max()) < 4.5 / own**0.5
    assert float((torch.cov(z.T) - torch.eye(D)).abs().max()) < 4.5 * (2 / own) ** 0.5
    if antithetic:
        assert float(z.mean(dim=0).abs().max()) < 1e-6


@pytest.mark.parametrize("segments", [1, 3])
def test_conditions_and_tangents_travel_with_their_pair(segments: int) -> None:
    """The condition is the target's; each end has its own tangent; mixing loses neither."""
    found = marked(Spline(), segments=segments, tangents=True).draw(1, 90, 30, STREAMS)
    x0, x1 = found.ends.x0.numpy(), found.ends.x1.numpy()
    assert found.condition is not None
    assert found.ends.v0 is not None
    assert found.ends.v1 is not None
    np.testing.assert_allclose(found.condition, told_by(x1, C), atol=1e-6)
    np.testing.assert_allclose(found.ends.v0, told_by(x0 + 1, D), atol=1e-6)
    np.testing.assert_allclose(found.ends.v1, told_by(x1 + 1, D), atol=1e-6)
    along = Spline().draw(found.draw.t, found.ends, found.draw.z)
    assert torch.equal(along.x_t, found.draw.x_t)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_conditions_are_left_out_at_their_share(share: float) -> None:
    """A condition is there whole or is all zero; its pair is the same either way."""
    n = 20_000
    found = marked(dropout=share, antithetic=False).draw(0, n, 100, STREAMS)
    whole = marked(antithetic=False).draw(0, n, 100, STREAMS)
    assert found.condition is not None
    assert whole.condition is not None
    gone = (found.condition == 0).all(dim=1)
    assert torch.equal(found.condition[~gone], whole.condition[~gone])
    assert abs(float(gone.float().mean()) - share) <= 4.5 * (share * (1 - share) / n) ** 0.5
    assert torch.equal(found.draw.x_t, whole.draw.x_t)


def test_without_conditions_there_is_none() -> None:
    source, target = (CloudSource(np.eye(D) + k, np.full(D, 1 / D)) for k in range(2))
    pairs = BatchedPairs(source, target, Independent(), 8)
    assert Task([pairs], Linear(), Velocity()).draw(0, 8, 8, STREAMS).condition is None


def test_draws_depend_on_seed_and_block_alone() -> None:
    """A resumed run draws what the uninterrupted one would have drawn."""
    one = marked(dropout=0.5, segments=2)
    first = one.draw(5, 64, 16, STREAMS)
    one.draw(0, 64, 16, STREAMS)
    again = marked(dropout=0.5, segments=2).draw(5, 64, 16, STREAMS)
    assert rows_of(first) == rows_of(again)
    assert torch.equal(first.draw.x_t, again.draw.x_t)
    for other in (one.draw(6, 64, 16, STREAMS), one.draw(5, 64, 16, Streams(5))):
        for name in ("t", "z", "x_t"):
            assert not torch.equal(getattr(other.draw, name), getattr(first.draw, name))


@pytest.mark.parametrize("n", [192, 100])
@pytest.mark.parametrize("path", [Linear(), Brownian(1e-6)])
def test_segments_are_balanced_mixed_and_get_their_own_pairs(n: int, path: Interpolant) -> None:
    """Segment k joins points marked k to points marked k + 1: dx/dt and s - t tell which."""
    ends = [CloudSource(np.full((5, 2), 10.0 * k**2), np.full(5, 0.2)) for k in range(4)]
    pairs = [BatchedPairs(a, b, Independent(), 16) for a, b in pairwise(ends)]
    found = Task(pairs, path, Velocity()).draw(2, n, n, STREAMS)
    s, draw = found.s, found.draw
    segment = (s - draw.t).round()
    torch.testing.assert_close(s - draw.t, segment, rtol=0, atol=1e-6)
    assert np.ptp(torch.bincount(segment[:, 0].long(), minlength=3).numpy()) <= 2
    torch.testing.assert_close(
        draw.mean_rate, (10 * (2 * segment + 1)).expand(n, 2), rtol=1e-5, atol=1e-5
    )
    place = 10 * segment**2 + draw.t * draw.mean_rate
    torch.testing.assert_close(draw.x_t, place.expand(n, 2), rtol=1e-5, atol=1e-5)
    assert abs(np.corrcoef(segment[:, 0], draw.t[:, 0])[0, 1]) < 4.5 / (n / 2) ** 0.5


def test_a_batch_changes_as_a_whole() -> None:
    """Every tensor of a batch is cut, none is left behind; what is missing stays missing."""
    whole = marked(Spline(), tangents=True).draw(0, 12, 12, STREAMS)
    part = whole.each(itemgetter(slice(3, 7)))
    for old, new in (
        *((getattr(whole, k), getattr(part, k)) for k in ("s", "condition")),
        *zip(vars(whole.draw).values(), vars(part.draw).values(), strict=True),
        *zip(vars(whole.ends).values(), vars(part.ends).values(), strict=True),
    ):
        assert (old is None and new is None) or torch.equal(old[3:7], new)
    bare = Task([Marked()], Linear(), Velocity(), Layout(D)).draw(0, 12, 12, STREAMS)
    assert bare.each(itemgetter(slice(3, 7))).ends.v0 is None
    assert bare.each(itemgetter(slice(3, 7))).condition is None


@pytest.mark.parametrize("name", ["trigonometric:gamma=sqrt", "learned-bridge"])
def test_a_batch_goes_along_another_path(name: str) -> None:
    """The same pairs, times and latents."""
    path: Interpolant = catalog.build("interpolants", name)
    path = built(path, D, STREAMS.torch("path"))
    batch = marked().draw(0, 12, 12, STREAMS)
    with torch.no_grad():
        moved = batch.along(path)
        wanted = path.draw(batch.draw.t, batch.ends, batch.draw.z)
    assert rows_of(moved) == rows_of(batch)
    assert torch.equal(moved.draw.z, batch.draw.z)
    assert torch.equal(moved.draw.x_t, wanted.x_t)
    assert not torch.equal(moved.draw.x_t, batch.draw.x_t)
