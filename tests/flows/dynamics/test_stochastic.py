"""Laws of stochastic flows: the densities of the ODE, knots, denoising, and likelihoods."""

from itertools import pairwise
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfmcli import catalog
from cfmcli.data.arrays import Array
from cfmcli.data.times import Timeline
from cfmcli.errors import ConfigError, NumericsError
from cfmcli.flows.dynamics.diffusions import Constant, diffusion
from cfmcli.flows.dynamics.estimates import estimate
from cfmcli.flows.dynamics.estimators import Controlled, Means, Ode
from cfmcli.flows.dynamics.flow import Flow
from cfmcli.flows.dynamics.likelihood import Exact
from cfmcli.flows.dynamics.sde import StochasticHeun
from cfmcli.flows.dynamics.solvers import Adaptive
from cfmcli.flows.dynamics.stochastic import Noise, wander
from cfmcli.flows.fields import Field, Head
from cfmcli.flows.objective.reading import Reading
from cfmcli.flows.streams import Streams
from tests import oracles
from tests.flows.heads import FormulaHead
from tests.oracles import Mixture, Oracle

TWO_GAPS = Timeline((0.0, 3.0, 4.0), ("a", "b", "c"))
UNIT = Timeline((0.0, 1.0), ("a", "b"))
PATH = "linear:gamma=sqrt,a=0.5"
CHAIN = [oracles.TILTED, oracles.NARROW, oracles.STANDARD]


class Closed(FormulaHead):
    """A head that is a closed form on each gap; its one parameter says device and precision."""

    def __init__(self, laws: list[Oracle], name: str) -> None:
        super().__init__()
        self.laws = laws
        self.name = name
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The formula of the gap that s lies in."""
        clock = float(s.ravel()[0])
        k = min(int(clock), len(self.laws) - 1)
        found: Tensor = getattr(self.laws[k], self.name)(clock - k, x.double())
        return found.to(x) * self.one


def closed(ends: list[Mixture], timeline: Timeline, heads: tuple[str, ...]) -> Flow:
    """The flow of closed forms between each two of some mixtures."""
    path = catalog.build("interpolants", PATH)
    laws = [Oracle(a, b, oracles.read_off(path)) for a, b in pairwise(ends)]
    field = Field({name: cast(Head, Closed(laws, name)) for name in heads})
    objective = catalog.build("objectives", "velocity+score" if len(heads) > 1 else "velocity")
    return Flow(field, timeline, Reading(objective, path))


def noise(text: str, steps: int = 60, seed: int = 0) -> Noise:
    return Noise(StochasticHeun(steps), diffusion(text), Streams(seed))


def moments(x: Array) -> Array:
    """Mean and covariance, as one vector."""
    return np.concatenate((x.mean(axis=0), np.cov(x.T).ravel()))


def points(law: Mixture, n: int) -> Array:
    return law.sample(n, torch.Generator().manual_seed(3)).numpy()


@pytest.mark.parametrize("text", ["0", "0.4", "bridge:level=1", "gamma:level=0.8"])
@pytest.mark.parametrize("order", [1, -1], ids=["forward", "backward"])
def test_every_snapshot_is_met(text: str, order: int) -> None:
    """Through two gaps, either way, the points have the law of each snapshot."""
    n, flow = 8000, closed(CHAIN, TWO_GAPS, ("velocity", "score"))
    laws, times = CHAIN[::order], TWO_GAPS.times[::order]
    found = wander(flow, points(laws[0], n), times, noise(text))
    for law, x in zip(laws, found.points, strict=True):
        wanted = np.concatenate((law.means[0].numpy(), law.covariances[0].numpy().ravel()))
        np.testing.assert_allclose(moments(x), wanted, atol=6 / np.sqrt(n))


def test_without_noise_it_is_the_flow() -> None:
    flow, x = closed(CHAIN, TWO_GAPS, ("velocity", "score")), points(CHAIN[0], 20)
    times = (0.0, 1.5, 3.0, 3.2)
    wanted = flow.paths(x, times, Adaptive("dopri5", 1e-8, 1e-8)).points
    np.testing.assert_allclose(wander(flow, x, times, noise("0", 200)).points, wanted, atol=1e-3)


@pytest.mark.parametrize("level", [8.0, 40.0])
def test_steps_that_are_too_long_are_an_error(level: float) -> None:
    """Where two of them fling points away, though not beyond the finite numbers; 400 do not."""
    flow, x = closed(CHAIN, TWO_GAPS, ("velocity", "score")), points(CHAIN[0], 200)
    with pytest.raises(NumericsError, match=r"steps=400"):
        wander(flow, x, (0.0, 4.0), noise(f"{level}", steps=4))
    ends = wander(flow, x, (0.0, 4.0), noise(f"{level}", steps=400)).points[-1]
    assert np.abs(ends).max() < 10


def test_seed_decides_and_times_do_not_disturb() -> None:
    flow, x = closed(CHAIN, TWO_GAPS, ("velocity", "score")), points(CHAIN[0], 20)
    one = wander(flow, x, (0.0, 4.0), noise("0.3", 10)).points[-1]
    assert np.array_equal(one, wander(flow, x, (0.0, 4.0), noise("0.3", 10)).points[-1])
    assert not np.array_equal(one, wander(flow, x, (0.0, 4.0), noise("0.3", 10, 1)).points[-1])
    through = wander(flow, x, (0.0, 3.0, 3.0, 4.0), noise("0.3", 10)).points
    assert np.array_equal(through[-1], one)
    assert np.array_equal(through[1], through[2])


def test_a_velocity_alone_has_no_noise() -> None:
    flow = closed(CHAIN, TWO_GAPS, ("velocity",))
    with pytest.raises(ConfigError, match="score"):
        wander(flow, points(CHAIN[0], 5), (0.0, 1.0), noise("0.3"))


def generator(path: str) -> tuple[Flow, Oracle]:
    """The closed flow from N(0, I) to a mixture, told by its velocity alone."""
    interpolant = catalog.build("interpolants", path)
    law = Oracle(oracles.STANDARD, oracles.TWO, oracles.read_off(interpolant))
    field = Field({"velocity": cast(Head, Closed([law], "velocity"))})
    return Flow(field, UNIT, Reading(interpolant=interpolant, normal_source=True)), law


@pytest.mark.parametrize("path", ["linear", "trigonometric", "onesided-linear:sigma=0.05"])
@pytest.mark.parametrize("text", ["0", "gamma:level=1"])
def test_a_velocity_from_noise_diffuses_to_the_data(path: str, text: str) -> None:
    """The score that the velocity tells, and a last step of denoising, end in the target's law."""
    n = 8000
    flow, law = generator(path)
    found = wander(flow, points(oracles.STANDARD, n), (0.0, 0.5, 0.99, 1.0), noise(text)).points
    direct = points(law.target, n)
    np.testing.assert_allclose(moments(found[-1]), moments(direct), atol=0.12)
    assert np.abs(found[-1] - found[-2]).mean() < 0.05


def normal(law: Mixture) -> "Known":
    return Known(law)


class Known:
    """A mixture as a density."""

    name = "mixture"

    def __init__(self, law: Mixture) -> None:
        self.law = law

    def log_prob(self, x: Array) -> Array:
        """log density, shape (n,)."""
        steady = Oracle(self.law, self.law, oracles.linear(0.0))
        return steady.log_prob(0.0, torch.as_tensor(x)).numpy()


@pytest.mark.parametrize("order", [1, -1], ids=["from the source", "from the target"])
def test_densities_through_two_gaps(order: int) -> None:
    """The ODE's and the weighted SDE's log density are the closed form's, from either end."""
    flow = closed(CHAIN, TWO_GAPS, ("velocity", "score"))
    laws, times = CHAIN[::order], TWO_GAPS.times[::order]
    x = points(laws[-1], 6)
    wanted = Known(laws[-1]).log_prob(x)
    back = (times[-1], times[0])
    means = Means(Exact(), Adaptive("dopri5", 1e-7, 1e-7), torch.Generator().manual_seed(0))
    exact = estimate(flow, x, back, (Ode(), Constant(0.0), means), Known(laws[0]))
    np.testing.assert_allclose(exact.values, wanted, atol=1e-5)
    assert not exact.error.any()
    how = (Controlled(64, 60), Constant(0.3), means)
    found = estimate(flow, x, back, how, Known(laws[0]))
    assert np.all(np.abs(found.values - wanted) < 4 * found.error + 5e-3)
    assert np.all(found.bound <= found.values + 1e-12)
    assert np.all(found.effective > 32)
    assert found.nfe > 0


class Wrong(FormulaHead):
    """A closed form with a small error, as every network has one."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, s: Tensor, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The formula and a ripple."""
        found: Tensor = self.head(s, x, c)
        return found + 0.05 * (3 * x).sin()


def test_errors_of_a_velocity_do_not_blow_up_near_the_data() -> None:
    """Read off a velocity that is slightly wrong, diffusion and density stay near the flow's."""
    flow, law = generator("linear")
    field = Field({"velocity": cast(Head, Wrong(flow.field.heads["velocity"]))})
    rough = Flow(field, UNIT, flow.reading)
    x = points(law.target, 40)
    means = Means(Exact(), Adaptive("dopri5"), torch.Generator().manual_seed(0))
    base = Known(oracles.STANDARD)
    plain = estimate(rough, x, (1.0, 0.0), (Ode(), Constant(0.0), means), base)
    noisy = estimate(rough, x, (1.0, 0.0), (Controlled(16, 60), Constant(0.3), means), base)
    assert float(np.mean(noisy.values - plain.values)) == pytest.approx(0, abs=0.15)
    assert float(np.median(noisy.effective)) > 8


@pytest.mark.parametrize("time", [0.98, 0.995, 1.0])
def test_narrow_targets_are_met_however_late_one_asks(time: float) -> None:
    """N(0, 1) to N(0, .02^2): with steps enough the spread is right at, and just before, t = 1."""
    narrow = oracles.gaussian([0.0, 0.0], [[4e-4, 0.0], [0.0, 4e-4]])
    law = Oracle(oracles.STANDARD, narrow, oracles.linear(0.0))
    field = Field({"velocity": cast(Head, Closed([law], "velocity"))})
    flow = Flow(field, UNIT, Reading(normal_source=True))
    x = points(oracles.STANDARD, 1000)
    found = wander(flow, x, (0.0, time), noise("bridge:level=0.2", 1000)).points[-1]
    wanted = float(law.moments(time)[1][0, 0, 0].sqrt())
    assert found.std() == pytest.approx(wanted, rel=0.03)


def test_past_and_future_have_noise_of_their_own() -> None:
    """From one start the paths forward and backward are not the same draw."""
    flow = closed(CHAIN, TWO_GAPS, ("velocity", "score"))
    x = np.zeros((500, 2))
    ahead = wander(flow, x, (3.0, 3.5), noise("1", 10)).points[-1]
    behind = wander(flow, x, (3.0, 1.5), noise("1", 10)).points[-1]
    assert abs(np.corrcoef(ahead[:, 0], behind[:, 0])[0, 1]) < 0.2
