"""Laws of the excess of plans: never more than there is, about as much, and at little cost."""

from typing import Any

import numpy as np
import pytest

from cfmcli.data.arrays import Array, IntArray
from cfmcli.flows.coupling import blocks
from cfmcli.flows.coupling import excess as module
from cfmcli.flows.coupling.couplings import Blocks, Coupling, Exact
from cfmcli.flows.coupling.excess import CANDIDATES, PART, Excess, cheapest, excess
from cfmcli.flows.coupling.plans import PairPlan
from tests.benchmarks.tasks import mixtures

Ends = tuple[Array, Array]
MIXED = mixtures(1200, 10)
ROUND = (
    np.random.default_rng(0).normal(size=(1200, 6)),
    np.random.default_rng(1).normal(size=(800, 6)),
)
BLOCKS = Blocks(size=32)


def planned(ends: Ends, coupling: Coupling = BLOCKS) -> PairPlan:
    """The plan of points of equal weight."""
    w0, w1 = (np.full(len(x), 1 / len(x)) for x in ends)
    plan = coupling.plan(*ends, w0, w1, np.random.default_rng(0))
    assert isinstance(plan, PairPlan)
    return plan


def true_excess(plan: PairPlan, ends: Ends) -> float:
    """The share of a plan's cost between centred clouds that the exact plan saves."""
    ends = centred(ends)
    return 1 - planned(ends, Exact()).mean_cost(*ends) / plan.mean_cost(*ends)


def centred(ends: Ends) -> Ends:
    """Both clouds around the origin."""
    return ends[0] - ends[0].mean(0), ends[1] - ends[1].mean(0)


def told(plan: PairPlan, ends: Ends, seed: int = 0, size: int = BLOCKS.size) -> Excess:
    return excess(plan, ends, size, np.random.default_rng(seed))


@pytest.fixture(params=["mixed", "round"])
def case(request: pytest.FixtureRequest) -> tuple[PairPlan, Ends, float]:
    """A plan, its points, and its true excess."""
    ends = {"mixed": MIXED, "round": ROUND}[request.param]
    plan = planned(ends)
    return plan, ends, true_excess(plan, ends)


def test_all_of_a_plan_as_one_neighbourhood_tells_the_truth(
    case: tuple[PairPlan, Ends, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left to extrapolate to, and nothing to chance."""
    plan, ends, truth = case
    monkeypatch.setattr(module, "_affordable", lambda *_: (64 * BLOCKS.size, 10**6))
    found = told(plan, ends)
    assert found.share == pytest.approx(truth, rel=1e-6)
    assert found.error == 0


@pytest.mark.parametrize(
    ("ends", "coupling"),
    [
        *((ends, Blocks(size=32, gain=2e-3)) for ends in (mixtures(1200, 5), mixtures(1200, 50))),
        (MIXED, BLOCKS),
        (mixtures(3000, 5), Blocks(size=64)),
    ],
)
def test_about_as_much_is_told_as_there_is(ends: Ends, coupling: Blocks) -> None:
    """Within a third of the exact plan's, on average over neighbourhoods."""
    plan = planned(ends, coupling)
    found = [told(plan, ends, seed, coupling.size) for seed in range(8)]
    truth = true_excess(plan, ends)
    assert np.mean([one.share for one in found]) == pytest.approx(truth, rel=1 / 3)


def test_its_error_is_that_of_the_neighbourhoods() -> None:
    """Over draws of the neighbourhoods shares spread by about what each says, within two."""
    plan = planned(MIXED)
    found = [told(plan, MIXED, seed) for seed in range(24)]
    spread = np.std([one.share for one in found], ddof=1)
    assert spread / 2 < np.mean([one.error for one in found]) < 2 * spread


def test_more_is_told_of_poor_plans() -> None:
    poor, good = planned(MIXED, Blocks(size=32, gain=0.9)), planned(MIXED)
    assert told(poor, MIXED).share > 1.5 * told(good, MIXED).share > 0
    assert planned(MIXED, Exact()).rounds == 0 < poor.rounds < good.rounds


@pytest.mark.parametrize("shift", [1.0, 30.0])
def test_translating_a_cloud_changes_nothing(shift: float) -> None:
    """Neither the plan nor its excess: every plan pays the same for the shift."""
    ends = centred(ROUND)
    moved = ends[0], ends[1] + shift
    here, there = planned(ends), planned(moved)
    assert here.rounds == there.rounds
    assert there.mean_cost(*ends) == pytest.approx(here.mean_cost(*ends), rel=1e-9)
    assert told(there, moved).share == pytest.approx(told(here, ends).share, rel=1e-6)


def test_clouds_may_lie_far_from_the_origin() -> None:
    """Both moved by so much that float32 would not tell their points apart."""
    ends = centred(ROUND)
    far = ends[0] + 1e8, ends[1] + 1e8
    here, there = planned(ends), planned(far)
    assert there.mean_cost(*ends) == pytest.approx(here.mean_cost(*ends), rel=0.02)
    assert told(there, far).share < told(here, ends).share + 0.02


def test_an_exact_plan_has_none() -> None:
    found = told(planned(MIXED, Exact()), MIXED)
    assert found.share == pytest.approx(0, abs=1e-9)


def test_points_that_coincide_have_none() -> None:
    ends = np.zeros((500, 2)), np.zeros((400, 2))
    assert told(planned(ends, Blocks(size=4)), ends, size=4).share == 0


def test_judging_takes_a_part_of_what_the_plan_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares of the numbers of pairs that are solved at once, as solving costs at least that."""
    solved: list[int] = []
    solve = blocks.solve_block

    def counted(problem: Any, items: Any, block: IntArray) -> Any:
        solved.append(len(block))
        return solve(problem, items, block)

    monkeypatch.setattr(module, "solve_block", counted)
    for size in (8, 16):
        solved.clear()
        plan = planned(MIXED, Blocks(size=size))
        told(plan, MIXED, size=size)
        assert sum(n**2 for n in solved) <= PART * plan.rounds * 1200 * size


def test_the_more_a_plan_took_the_larger_neighbourhoods_are() -> None:
    sizes = [module._affordable(n, 128, 8)[0] for n in (4_000, 40_000, 400_000, 4_000_000)]
    assert sizes == sorted(set(sizes))


def test_it_says_how_sure_it_is() -> None:
    told = "about 0.49% (± 0.12%) above the exact plan, shift aside"
    assert str(Excess(0.0049, 0.0012, 512)) == told


@pytest.mark.parametrize(("needed", "refined"), [(2.0, False), (0.8, True), (0.1, False)])
def test_the_cheapest_that_will_do_is_taken(
    needed: float, refined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second if only that will do; neither will if ten times less is needed than there is."""
    poor, good = Blocks(size=8, gain=0.5), Blocks(size=8, gain=1e-3)
    there = excess(planned(MIXED, poor), MIXED, poor.size, np.random.default_rng(1))
    monkeypatch.setattr(module, "NEEDED", needed * (there.share + there.error))

    def solve(coupling: Coupling) -> tuple[str, Ends, PairPlan]:
        return str(coupling), MIXED, planned(MIXED, coupling)

    chosen, came, found = cheapest((poor, good), solve, np.random.default_rng(1))
    assert chosen == (good if refined else poor)
    assert came == str(chosen)
    assert found.share > 0


def test_candidates_get_better() -> None:
    sizes, gains = zip(*((c.size, c.gain) for c in CANDIDATES), strict=True)
    assert list(sizes) == sorted(sizes)
    assert list(gains) == sorted(gains, reverse=True)
    assert len(set(CANDIDATES)) == len(CANDIDATES)
