"""Laws of assembling: what cannot work is refused, with the way out; all else is built."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfmcli import catalog
from cfmcli.data.conditions import Conditions
from cfmcli.data.snapshots import Cloud, Snapshots
from cfmcli.errors import ConfigError
from cfmcli.flows.coupling.couplings import Exact
from cfmcli.flows.objective.objectives import Velocity
from cfmcli.flows.path.interpolants import Linear
from cfmcli.recipe import Recipe
from cfmcli.specs import parse_spec
from cfmcli.workflows import assemble

COUPLINGS, PATHS, OBJECTIVES = map(catalog.names, ("couplings", "interpolants", "objectives"))
ONE_SIDED = [name for name in PATHS if name.startswith("onesided")]
OWN_SOURCE = [*ONE_SIDED, "mirror"]
GAUSSIAN = {"source": "gaussian", "coupling": "independent"}

REFUSED: list[tuple[dict[str, Any], str]] = [
    *(
        ({"interpolant": name, "coupling": "independent"}, r"ignore the source.*--source gaussian")
        for name in ONE_SIDED
    ),
    ({"interpolant": "mirror", **GAUSSIAN}, r"one and the same cloud.*leave --source out"),
    *(
        ({"interpolant": name, "objective": "denoiser", **GAUSSIAN}, "--interpolant onesided")
        for name in ("linear:gamma=sqrt", "brownian", "encdec", "linear:sigma=0.1")
    ),
    ({"interpolant": "linear", "objective": "velocity+score"}, "--interpolant linear:gamma=sqrt"),
    ({"interpolant": "vp:gamma=none", "objective": "v+score"}, "--interpolant vp:gamma=sqrt"),
    ({"interpolant": "spline", "objective": "sf2m"}, "--interpolant spline:gamma=sqrt"),
    ({"interpolant": "learned", "objective": "v+denoiser"}, "--interpolant learned-bridge"),
    *(
        ({"interpolant": "learned-bridge", "objective": name}, "--objective velocity.denoiser")
        for name in ("velocity", "static")
    ),
    *(
        (how, "--method wfrfm")
        for how in (
            {"interpolant": "wfr"},
            {"objective": "velocity+growth"},
            {"interpolant": "wfr", "objective": "static"},
            {"mass": "equal"},
        )
    ),
    ({"method": "wfrfm", "source": "gaussian"}, "leave --source and --from-run out"),
    ({"growth_key": "rate", "source": "gaussian"}, "leave --source out"),
    ({"scope": "dataset", "ot_batch": 64}, r"--ot-batch.*leave one of them out"),
    *(
        ({"interpolant": name, "source": "gaussian"}, r"draws its own source.*independent")
        for name in ONE_SIDED
    ),
    ({"interpolant": "mirror"}, r"draws its own source.*--coupling independent"),
    ({"from_run": "run"}, r"--from-run makes the pairs itself.*--method rf"),
    ({"method": "rf", "from_run": "run", "coupling": "exact"}, "--coupling paired"),
    ({"method": "rf", "from_run": "run", "interpolant": "spline"}, "--interpolant linear"),
    *(
        ({"method": "rf", "from_run": "run", **how}, "leave --scope and --ot-batch out")
        for how in ({"scope": "minibatch"}, {"ot_batch": 64})
    ),
    *(
        ({"coupling": "paired", **how}, "leave --scope and --ot-batch out")
        for how in ({"scope": "minibatch"}, {"ot_batch": 64})
    ),
    ({"coupling": "paired", "source": "gaussian"}, r"N\(0, I\) has none.*--coupling exact"),
    *(
        ({"method": "static-ot", "interpolant": name}, "--interpolant linear")
        for name in ("trigonometric", "linear:sigma=0.1", "spline", "learned")
    ),
    *(
        ({"method": "static-ot", **how}, "leave --from-run, --scope and --ot-batch out")
        for how in (
            {"scope": "minibatch"},
            {"ot_batch": 64},
            {"from_run": "run", "coupling": "paired"},
        )
    ),
    ({"coupling": "exakt"}, "Did you mean 'exact'"),
    *(
        ({"method": name, "source": "gaussian", "ot_batch": 64}, "--ot-batch 64 .*leave it out")
        for name in ("icfm", "fm")
    ),
]

ALLOWED: list[dict[str, Any]] = [
    {},
    {"method": "fm", "source": "gaussian"},
    {"coupling": "paired", "scope": "dataset"},
    {"method": "rf", "from_run": "run", "validation": 0.1},
    {"method": "rf", "from_run": "run", "source": "gaussian"},
    {"method": "static-ot", "coupling": "independent", "scope": "dataset"},
    {"interpolant": "linear:sigma=0.1", "objective": "velocity+denoiser"},
    {"method": "wfrfm", "mass": "equal", "growth_key": "rate"},
    {"interpolant": "wfr:sigma=0.1", "objective": "velocity+growth", "coupling": "exact"},
    {"coupling": "wfr:delta=2"},
    {"interpolant": "learned-bridge", "objective": "sf2m", "coupling": "independent"},
    {"interpolant": "onesided-sbdm", "objective": "denoiser", **GAUSSIAN},
    {"interpolant": "mirror", "coupling": "independent", "objective": "v+denoiser"},
    {"ot_batch": 64},
    {"method": "icfm", "scope": "minibatch", "ot_batch": 64},
    {"method": "sbcfm", "scope": "minibatch", "ot_batch": 64},
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=str)
def test_what_cannot_work_is_refused_with_the_way_out(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        assemble.triple(Recipe(**settings))


@pytest.mark.parametrize("settings", ALLOWED, ids=str)
def test_what_can_work_is_built(settings: dict[str, Any]) -> None:
    """In each pair of a refusal and an allowance one setting decides."""
    recipe = Recipe(**settings)
    built = assemble.triple(recipe)
    names = (parse_spec(spec).name for spec in recipe.triple())
    parts = (built.coupling, built.interpolant, built.objective)
    for family, name, part in zip(
        ("couplings", "interpolants", "objectives"), names, parts, strict=True
    ):
        assert isinstance(part, catalog.entry(family, name).load())


@pytest.mark.parametrize(
    ("settings", "needs", "message"),
    [
        ({"condition_cost": 3.0}, {"covariates": ("dose",)}, "--condition-cost 3 .*--covariates"),
        (
            {"condition_cost": 0.0, "label_key": "kind"},
            {"covariates": ("dose",)},
            "--condition-cost 0 .*--covariates",
        ),
        ({"condition_dropout": 0.0}, {"label_key": "kind"}, "--condition-dropout 0 .*--label-key"),
        ({"condition_dropout": 0.5}, {"covariates": ("dose",)}, "--label-key or --covariates"),
    ],
    ids=str,
)
def test_settings_of_conditions_need_some(
    settings: dict[str, Any], needs: dict[str, Any], message: str
) -> None:
    """They are refused where they would be idle, and taken with the column that they need."""
    with pytest.raises(ConfigError, match=message):
        assemble.check_conditions(Recipe(**settings))
    assemble.check_conditions(Recipe(**settings, **needs))


@pytest.mark.parametrize("names", [("",), ("dose", "")])
def test_covariates_have_names(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"--covariates.*empty.*name a column"):
        assemble.check_conditions(Recipe(covariates=names))


def test_the_advice_of_a_refusal_works() -> None:
    """Every path that lacks a latent is told a spec that has one."""
    for name in PATHS:
        recipe = Recipe(interpolant=name, objective="velocity+denoiser", coupling="independent")
        try:
            assemble.triple(recipe)
        except ConfigError as error:
            if "give it one" in str(error):
                advice = str(error).partition("--interpolant ")[2].partition(")")[0]
                assert assemble.triple(replace(recipe, interpolant=advice)).interpolant.has_latent


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_every_combination_is_built_or_refused(coupling: str) -> None:
    """With one of the family's errors, which names an option to use."""
    built, reasons = 0, []
    for path, objective, source in product(PATHS, OBJECTIVES, ("data", "gaussian")):
        recipe = Recipe(coupling=coupling, interpolant=path, objective=objective, source=source)
        try:
            assemble.triple(recipe)
            built += 1
        except ConfigError as error:
            reasons.append(str(error))
    assert built > 20
    assert all("--" in reason for reason in reasons)


@pytest.mark.parametrize("name", catalog.names("methods"))
def test_every_method_is_built(name: str) -> None:
    """From noise or from points, whichever it needs."""
    source = "gaussian" if name == "fm" else "data"
    assemble.triple(Recipe(method=name, source=source, from_run="run" * (name == "rf")))


def cloud(time: float, n: int, seed: int) -> Cloud:
    """Random points at a time."""
    points = np.random.default_rng(seed).standard_normal((n, 2))
    return Cloud(points, np.full(n, 1 / n), pd.DataFrame(index=range(n)), f"{time}", time)


@pytest.mark.parametrize(("n", "seed"), [(9, 2), (8, 1)])
def test_a_mirror_has_one_and_the_same_cloud_at_both_ends(n: int, seed: int) -> None:
    """Another size or other points are refused, the same points are not; other paths do not ask."""
    mirror = assemble.triple(Recipe(interpolant="mirror", coupling="independent"))
    same = Snapshots((cloud(0.0, 9, 1), cloud(1.0, 9, 1)))
    other = Snapshots((cloud(0.0, 9, 1), cloud(1.0, 9, 1), cloud(2.0, n, seed)))
    assemble.check_data(mirror, same, Conditions())
    assemble.check_data(assemble.triple(Recipe()), other, Conditions())
    with pytest.raises(ConfigError, match=r"the same file twice"):
        assemble.check_data(mirror, other, Conditions())


@pytest.mark.parametrize(("method", "wide"), [("sf2m", True), ("si", True), ("otcfm", False)])
def test_noise_far_wider_than_the_points_is_warned_of(
    method: str, wide: bool, recwarn: pytest.WarningsRecorder
) -> None:
    """Half of sigma 1 beside points that spread by a fortieth; not beside those of spread 1."""
    built = assemble.triple(Recipe(method=method))
    usual = Snapshots((cloud(0.0, 90, 1), cloud(1.0, 90, 2)))
    assemble.check_data(built, usual, Conditions())
    assert not recwarn.list
    narrow = replace(usual.clouds[1], points=np.asarray(usual.clouds[1].points) / 40 + 7)
    assemble.check_data(built, Snapshots((usual.clouds[0], narrow)), Conditions())
    assert [str(w.message)[:36] for w in recwarn] == ["Half way the path is blurred by 0.5,"] * wide
    recwarn.clear()
    place = replace(usual.clouds[0], points=np.full((90, 2), 1e5 + 0.1))
    apart = replace(usual.clouds[1], points=np.asarray(usual.clouds[1].points) + 1e5)
    assemble.check_data(built, Snapshots((place, apart)), Conditions())
    assert not recwarn.list, "what rounding leaves of one place is no spread"


def test_what_learns_nothing_cannot_be_conditional_or_start_from_noise() -> None:
    static = assemble.triple(Recipe(method="static-ot"))
    both = Snapshots((cloud(0.0, 9, 1), cloud(1.0, 9, 2)))
    assemble.check_data(static, both, Conditions())
    with pytest.raises(ConfigError, match=r"leave --label-key and --covariates out"):
        assemble.check_data(static, both, Conditions("kind", ("a", "b")))
    with pytest.raises(ConfigError, match="leave --source out"):
        assemble.check_data(static, Snapshots((both.clouds[0],), True), Conditions())


def test_parts_replace_those_of_the_method() -> None:
    built = assemble.triple(Recipe(method="sbcfm", coupling="exact", interpolant="linear:sigma=1"))
    assert (built.coupling, built.interpolant) == (Exact(), Linear(1.0))
    assert built.objective == Velocity()
