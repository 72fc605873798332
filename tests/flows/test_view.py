"""Views: they go along with the clouds, keep their unit, and magnify what is narrow."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import jvp

import cfmcli
from cfmcli.flows.view import View

MEANS = torch.tensor([[0.0, 1.0], [5.0, -3.0], [2.0, 2.0]], dtype=torch.float64)
SPREADS = torch.tensor([1.0, 0.01, 0.5], dtype=torch.float64)


def view(shift: float = 0.0, unit: float = 1.0) -> View:
    """Three clouds, of which the second is narrow, moved and in another unit."""
    found = View(2, 2).double()
    found.settle(unit * (MEANS + shift), unit * SPREADS, 2.0 * unit)
    return found


def clock(*times: float) -> Tensor:
    """Inner times, one a row."""
    return torch.tensor(times, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("s", [0.0, 0.3, 0.999, 1.0, 1.001, 1.6, 1.999])
def test_what_stays_in_place_moves_with_the_view(s: float) -> None:
    """Its drift is the rate of m + w u, by differences to the side where the gap goes on."""
    there, u = view(), torch.tensor([[0.4, -1.5]], dtype=torch.float64)
    step = 1e-7

    def at(time: float) -> Tensor:
        k = min(int(time), 1)
        mean = MEANS[k] + (time - k) * (MEANS[k + 1] - MEANS[k])
        return mean + there.width(clock(time))[0] * u

    seen = there.seen(clock(s), at(s))
    torch.testing.assert_close(seen.inputs[:, 1:], u)
    torch.testing.assert_close(seen.drift, (at(s + step) - at(s)) / step, rtol=1e-4, atol=1e-5)


def test_the_rate_of_the_width_is_its_derivative() -> None:
    times = clock(0.1, 0.8, 0.99, 1.2, 1.7)
    width, rate = view().width(times)
    wanted = jvp(lambda s: view().width(s)[0], (times,), (torch.ones_like(times),))
    torch.testing.assert_close((width, rate), (wanted[0], wanted[1]))


def test_clouds_as_wide_as_all_points_keep_the_unit_and_narrow_ones_are_magnified() -> None:
    width, _ = view().width(clock(0.0, 1.0))
    assert 0.97 * 2 < float(width[0]) < 2
    assert 0.99 * 0.1 < float(width[1]) < 0.1


def test_the_view_depends_neither_on_the_origin_nor_on_the_unit() -> None:
    s, x = clock(0.2, 1.3), torch.tensor([[1.0, 2.0], [-3.0, 0.5]], dtype=torch.float64)
    plain, moved = view().seen(s, x), view(7.0, 30.0).seen(s, 30.0 * (x + 7.0))
    torch.testing.assert_close(moved.inputs, plain.inputs)
    torch.testing.assert_close(moved.drift, 30.0 * plain.drift)


def test_batches_are_the_rows_in_order() -> None:
    x = torch.arange(10, dtype=torch.float64).reshape(5, 2)
    seen = view().seen(clock(0.1, 0.4, 0.9, 1.1, 1.5), x)
    parts = seen.split(2)
    assert [len(part.inputs) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.drift for part in parts]), seen.drift)


@pytest.mark.parametrize("narrow", [1.0, 0.1, 1e-3])
def test_a_normal_cloud_of_any_width_is_carried_as_the_closed_form_says(narrow: float) -> None:
    """Between isotropic normals the optimal map is mean + spread u: on fresh points.

    Paths between samples are those of the laws up to the error of the samples' own optimal map.
    """
    rng = np.random.default_rng(0)
    source, target = narrow * rng.standard_normal((400, 2)), 5 + 2 * rng.standard_normal((400, 2))
    fresh = rng.standard_normal((200, 2))
    model = cfmcli.fit(source, target, steps=400, threads=1)
    moved = np.asarray(model.transport(narrow * fresh, solver="rk4:steps=20"))
    error = np.linalg.norm(moved - (5 + 2 * fresh), axis=1)
    assert np.median(error) < 0.4
    assert error.max() < 2


def test_one_point_is_not_magnified() -> None:
    """There is nothing in it to tell apart."""
    found = View(1, 2)
    found.settle(torch.zeros(2, 2), torch.tensor([0.0, 1.0]), 0.8)
    assert float(found.width(torch.zeros(1, 1))[0]) == pytest.approx(0.8, rel=0.01)
