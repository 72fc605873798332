"""Laws of splines: chains of Hermite cubics with the natural tangents are the natural spline."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor
from torch.func import jvp

from cfmcli.data.arrays import Array
from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.splines import natural_tangents
from cfmcli.flows.path.curves import Spline
from cfmcli.flows.path.interpolants import Ends

TIMES = np.array([0.0, 1.0, 1.5, 4.0, 4.3])
KNOTS = np.random.default_rng(0).standard_normal((6, 5, 3))


def gaps(knots: Array, times: Array) -> list[Ends]:
    """The ends of each gap, with tangents in its local time."""
    tangents = natural_tangents(knots, times)
    return [
        Ends(
            *(torch.from_numpy(v) for v in (knots[:, k], knots[:, k + 1])),
            *(torch.from_numpy(h * tangents[:, j]) for j in (k, k + 1)),
        )
        for k, h in enumerate(np.diff(times))
    ]


def derivatives(ends: Ends, t: float) -> tuple[Tensor, Tensor, Tensor]:
    """Place, velocity and acceleration of the noiseless path at local time t."""
    clock = torch.full((len(ends.x0), 1), t, dtype=torch.float64)
    ones = torch.ones_like(clock)

    def place(s: Tensor) -> Tensor:
        return Spline().mean(s, ends)

    def velocity(s: Tensor) -> Tensor:
        rate: Tensor = jvp(place, (s,), (ones,))[1]
        return rate

    speed, acceleration, *_ = jvp(velocity, (clock,), (ones,))
    return place(clock), speed, acceleration


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_gaps_are_scipys_natural_spline(k: int, t: float) -> None:
    curve = CubicSpline(TIMES, KNOTS, axis=1, bc_type="natural")
    found, *_ = derivatives(gaps(KNOTS, TIMES)[k], t)
    tau = TIMES[k] + t * (TIMES[k + 1] - TIMES[k])
    torch.testing.assert_close(found, torch.from_numpy(curve(tau)), rtol=0, atol=1e-12)


def test_velocity_and_acceleration_are_continuous_and_vanish_outside() -> None:
    """In clock time across every knot; no acceleration at the first and the last one."""
    pieces, lengths = gaps(KNOTS, TIMES), np.diff(TIMES)
    start = [derivatives(piece, 0.0) for piece in pieces]
    end = [derivatives(piece, 1.0) for piece in pieces]
    for k in range(len(pieces) - 1):
        for order in (0, 1, 2):
            before = end[k][order] / lengths[k] ** order
            after = start[k + 1][order] / lengths[k + 1] ** order
            torch.testing.assert_close(before, after, rtol=0, atol=1e-10)
    for edge in (start[0], end[-1]):
        assert float(edge[2].abs().max()) < 1e-10


def test_a_natural_spline_bends_less_than_another() -> None:
    """Among curves through the knots it has the least integral of |acceleration|^2 (Holladay)."""
    rng = np.random.default_rng(1)

    def bending(pieces: list[Ends]) -> float:
        """Simpson's rule, exact for the square of a line."""
        total = 0.0
        for ends, h in zip(pieces, np.diff(TIMES), strict=True):
            squares = [float(derivatives(ends, t)[2].square().sum()) for t in (0.0, 0.5, 1.0)]
            total += (squares[0] + 4 * squares[1] + squares[2]) / 6 / h**3
        return total

    least = bending(gaps(KNOTS, TIMES))
    for _ in range(10):
        push = 0.1 * rng.standard_normal(KNOTS.shape)
        moved = [
            Ends(
                e.x0,
                e.x1,
                e.v0 + h * torch.from_numpy(push[:, k]),
                e.v1 + h * torch.from_numpy(push[:, k + 1]),
            )
            for k, (e, h) in enumerate(zip(gaps(KNOTS, TIMES), np.diff(TIMES), strict=True))
            if e.v0 is not None and e.v1 is not None
        ]
        assert bending(moved) > least


@pytest.mark.parametrize("times", [[0.0, 2.0], [0.0, 0.5, 3.0, 3.5]])
def test_a_straight_chain_stays_straight(times: list[float]) -> None:
    """Knots on a line at a steady pace: the tangent is the pace; two knots are always such."""
    pace = np.array([[1.0, -2.0], [0.5, 3.0]])
    clock = np.array(times)
    tangents = natural_tangents(pace[:, None] * clock[:, None] + 7, clock)
    np.testing.assert_allclose(tangents, np.repeat(pace[:, None], len(clock), axis=1), atol=1e-12)


def test_cubics_are_reproduced() -> None:
    """The Hermite path with the tangents of any cubic is that cubic."""
    c = torch.from_numpy(np.random.default_rng(2).standard_normal((4, 5, 2)))
    ends = Ends(c[0], c.sum(dim=0), c[1], c[1] + 2 * c[2] + 3 * c[3])
    for t in (0.1, 0.6, 0.95):
        place, velocity, _ = derivatives(ends, t)
        torch.testing.assert_close(place, c[0] + t * (c[1] + t * (c[2] + t * c[3])))
        torch.testing.assert_close(velocity, c[1] + t * (2 * c[2] + 3 * t * c[3]))


def test_missing_tangents_are_refused() -> None:
    x = torch.zeros(2, 2)
    for ends in (Ends(x, x), Ends(x, x, v0=x), Ends(x, x, v1=x)):
        with pytest.raises(ConfigError, match="linear"):
            Spline().mean(torch.zeros(2, 1), ends)
