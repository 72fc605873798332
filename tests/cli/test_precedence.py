"""Option over environment over configuration over default, for every setting of a recipe."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cfmcli import recipe
from cfmcli.layers import from_layers
from cfmcli.recipe import Recipe
from tests.cli.harness import FIT, SAMPLE, Cfm, Stub

# For each setting three texts as typed, and what each means.
SETTINGS: dict[str, tuple[tuple[str, Any], ...]] = {
    "source": (("gaussian", "gaussian"), ("data", "data"), ("gaussian", "gaussian")),
    "times": (("0,2,7.5", (0.0, 2.0, 7.5)), ("1, 2", (1.0, 2.0)), ("-1,3", (-1.0, 3.0))),
    "time_order": (("a,b", ("a", "b")), ("b,a", ("b", "a")), ("c,d e", ("c", "d e"))),
    "time_map": (("d2=2,d10=10", ("d2=2", "d10=10")), ("a=1", ("a=1",)), ("b=2", ("b=2",))),
    "holdout": (("1", ("1",)), ("2", ("2",)), ("d3", ("d3",))),
    "method": (("icfm", "icfm"), ("sbcfm", "sbcfm"), ("vp", "vp")),
    "coupling": (("sinkhorn:reg=0.1",) * 2, ("exact",) * 2, ("independent",) * 2),
    "interpolant": (("brownian:sigma=2",) * 2, ("linear",) * 2, ("trigonometric",) * 2),
    "objective": (("velocity",) * 2, ("velocity",) * 2, ("velocity",) * 2),
    "field": (("mlp:width=32",) * 2, ("mlp:width=16",) * 2, ("mlp",) * 2),
    "transform": (("log1p,pca:n=50,standardize",) * 2, ("none",) * 2, ("pca:n=2",) * 2),
    "preprocess": (("scanpy:pcs=3",) * 2, ("scanpy",) * 2, ("scanpy:genes=9",) * 2),
    "scope": (("minibatch",) * 2, ("dataset",) * 2, ("auto",) * 2),
    "precision": (("bf16",) * 2, ("f32",) * 2, ("bf16",) * 2),
    "mass": (("equal",) * 2, ("1,2.5,4",) * 2, ("counts",) * 2),
    "ot_batch": (("512", 512), ("64", 64), ("32", 32)),
    "steps": (("auto", "auto"), ("12", 12), ("auto", "auto")),
    "batch_size": (("21", 21), ("22", 22), ("23", 23)),
    "lr": (("1e-3", 1e-3), ("0.5", 0.5), ("2", 2.0)),
    "ema": (("0.9", 0.9), ("0", 0.0), ("0.5", 0.5)),
    "validation": (("0.1", 0.1), ("0.2", 0.2), ("0.3", 0.3)),
    "seed": (("5", 5), ("6", 6), ("7", 7)),
    "covariates": (("dose,age", ("dose", "age")), ("age", ("age",)), ("a, b", ("a", "b"))),
    "condition_cost": (("3", 3.0), ("0", 0.0), ("1e2", 100.0)),
    "condition_dropout": (("0.3", 0.3), ("0", 0.0), ("0.2", 0.2)),
}
TEXTUAL = (
    *(
        "time_key",
        "label_key",
        "weight_key",
        "growth_key",
        "id_key",
        "features",
        "drop",
        "where",
        "layer",
        "use_rep",
    ),
    "from_run",
)
SETTINGS |= dict.fromkeys(TEXTUAL, (("one",) * 2, ("two",) * 2, ("pc*,x",) * 2))


def test_no_setting_is_forgotten() -> None:
    """The table above has every field but the positional files, and two that need another."""
    tried_below = {"inputs", "patience", "growth_kind"}
    assert {item.name for item in dataclasses.fields(Recipe)} == {*SETTINGS, *tried_below}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_nearer_word_wins(
    name: str, cfm: Cfm, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Default, then configuration, then environment, then option, each over the one before."""
    (typed, option), (exported, variable), (_, stored) = SETTINGS[name]
    config = tmp_path / "recipe.toml"
    plain = list(stored) if isinstance(stored, tuple) else stored
    config.write_text(f"{name} = {plain!r}\n")
    assert cfm(*FIT).code == 0
    assert cfm(*FIT, "--config", str(config)).code == 0
    monkeypatch.setenv(f"CFM_{name.upper()}", exported)
    assert cfm(*FIT, "--config", str(config)).code == 0
    assert cfm(*FIT, "--config", str(config), recipe.option(name), typed).code == 0
    found = [getattr(asked[0], name) for asked in stub.asked]
    assert found == [recipe.default(name), stored, variable, option]
    assert [asked[2].seed for asked in stub.asked] == [asked[0].seed for asked in stub.asked]


def test_files_win_over_those_of_the_configuration(cfm: Cfm, stub: Stub, tmp_path: Path) -> None:
    """A configuration's inputs serve where the command line names none."""
    config = tmp_path / "recipe.toml"
    kind = 'growth_key = "rate"\ngrowth_kind = "score"'
    rest = "[training]\npatience = 3\nvalidation = 0.1\n"
    config.write_text(f'[data]\ninputs = ["c.csv"]\n{kind}\n{rest}')
    assert cfm("fit", "-o", "run", "--config", str(config)).code == 0
    nearer = ("--patience", "4", "--growth-kind", "rate")
    assert cfm(*FIT, "--config", str(config), *nearer).code == 0
    recipes = [asked[0] for asked in stub.asked]
    assert [found.inputs for found in recipes] == [("c.csv",), ("a.csv", "b.csv")]
    assert [found.patience for found in recipes] == [3, 4]
    assert [found.growth_kind for found in recipes] == ["score", "rate"]


def test_methods_that_are_compared_replace_the_parts_of_the_configuration(
    cfm: Cfm, stub: Stub, tmp_path: Path
) -> None:
    """A stored recipe names its parts; methods that are typed bring their own instead."""
    config, data = tmp_path / "recipe.toml", tmp_path / "days.csv"
    config.write_text('method = "auto"\ncoupling = "exact"\ninterpolant = "bent:bend=1"\n')
    data.write_text("")
    asked = ("evaluate", str(data), "--config", str(config))
    assert cfm(*asked, "--method", "auto,icfm,sf2m,icfm").code == 0
    assert cfm(*asked, "--method", "auto,icfm", "--interpolant", "linear").code == 0
    assert cfm(*asked).code == 0
    found = [[one.triple()[:2] for one in asked[0]] for asked in stub.asked]
    methods = [from_layers({"method": name}).triple()[:2] for name in ("auto", "icfm", "sf2m")]
    assert found[0] == methods
    assert found[1] == [("exact", "linear"), ("independent", "linear")]
    assert found[2] == [("exact", "bent:bend=1")]


def test_a_method_that_is_typed_brings_its_settings_over_those_a_file_only_writes_out(
    cfm: Cfm, stub: Stub, tmp_path: Path
) -> None:
    """A stored recipe with another method does as if that method had been typed at first."""
    config = tmp_path / "recipe.toml"
    for name, more in {"otcfm": (), "sf2m": (), "icfm": ("--steps", "77", "--lr", "0.2")}.items():
        cfm(*FIT, "--method", name, *more)
        config.write_text(stub.asked[-1][0].to_toml())
        for other in ("sf2m", "sbcfm", "otcfm"):
            asked = ("--method", other)
            assert cfm(*FIT, "--config", str(config), *asked).code == 0
            assert cfm(*FIT, *asked, *more).code == 0
            assert stub.asked[-2][0] == stub.asked[-1][0]


def test_holdout_is_repeatable(cfm: Cfm, stub: Stub) -> None:
    """Each --holdout adds a time."""
    cfm(*FIT, "--holdout", "1", "--holdout", "d2")
    assert stub.asked[0][0].holdout == ("1", "d2")


def test_a_stored_recipe_gives_itself_back(cfm: Cfm, stub: Stub, tmp_path: Path) -> None:
    """A recipe written as TOML and read by --config is the same recipe."""
    cfm(*FIT, "--lr", "0.25", "--times", "0,3", "--transform", "none", "--seed", "8")
    written = stub.asked[0][0]
    config = tmp_path / "recipe.toml"
    config.write_text(written.to_toml())
    cfm("fit", "-o", "other", "--config", str(config))
    assert stub.asked[1][0] == written


def test_the_environment_serves_every_command(
    cfm: Cfm, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CFM_* variables reach options that are no recipe settings, and flags."""
    for name, value in {"SOLVER": "rk4", "SEED": "9", "COUNT": "4", "FORCE": "1"}.items():
        monkeypatch.setenv(f"CFM_{name}", value)
    cfm(*SAMPLE)
    cfm(*SAMPLE, "--solver", "euler")
    (first, runtime, _), (second, _, _) = stub.asked
    assert (first.integration.solver, first.count, runtime.seed) == ("rk4", 4, 9)
    assert runtime.force
    assert second.integration.solver == "euler"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stpes = 3\n", "Did you mean 'steps'?"),
        ("steps = 'many'\n", "--steps"),
        ("steps = = 3\n", "not valid TOML"),
        ("[trainign]\nsteps = 3\n", "Did you mean 'training'?"),
        (None, "could not be read"),
    ],
)
def test_a_bad_configuration_is_refused(
    text: str | None, told: str, cfm: Cfm, stub: Stub, tmp_path: Path
) -> None:
    """What is wrong in a configuration is named, and nothing starts."""
    config = tmp_path / "recipe.toml"
    if text is not None:
        config.write_text(text)
    ran = cfm(*FIT, "--config", str(config))
    assert ran.code == 2
    assert told in ran.err
    assert stub.asked == []
