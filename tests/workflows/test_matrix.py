"""The matrix: whatever can be combined fits, moves points, tells its score and is kept on disk."""

from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import cfmcli
from cfmcli import catalog, checkpoint
from cfmcli.data.arrays import Array
from cfmcli.errors import CfmWarning, ConfigError
from cfmcli.flows.dynamics.choice import deterministic
from cfmcli.flows.dynamics.flow import Flow
from cfmcli.flows.objective.reading import Guide
from cfmcli.model import Model
from cfmcli.stored import load, pack
from cfmcli.workflows import binding
from tests import oracles

TINY = {"steps": 3, "batch_size": 16, "field": "mlp:width=8,depth=1"}
COUPLINGS, PATHS, OBJECTIVES = map(catalog.names, ("couplings", "interpolants", "objectives"))
ONE_SIDED = {name for name in PATHS if name.startswith("onesided")}
QUIET = {"linear", "trigonometric", "spline", "density", "learned"}
LEAVES_OUT = {"partial"}
WITH_LATENT = {"velocity+score", "velocity+denoiser", "v+score", "v+denoiser", "sf2m"}
X, Y, Z = (
    np.random.default_rng(k).standard_normal((40, 2)) * (1 + 0.3 * k) + [3.0 * k, -k]
    for k in range(3)
)


def possible(path: str, objective: str) -> bool:
    """Whether a path has what an objective regresses on, and the objective what the path needs."""
    if path == "wfr" or objective == "velocity+growth":
        return path == "wfr" and objective == "velocity+growth"
    if objective == "velocity":
        return path != "learned-bridge"
    if objective == "denoiser":
        return path in ONE_SIDED
    return path == "linear" if objective == "static" else path not in QUIET


def tables(path: str, gaussian: bool) -> tuple[Array, ...]:
    """Clouds that a path can join: one for noise, the same twice for a mirror, or two."""
    if gaussian:
        return (Y,)
    return (X, X) if path == "mirror" else (X, Y)


def ahead(model: Model) -> Array:
    """Samples at the end."""
    return model.sample(5, solver="euler:steps=2", seed=1)


def onward(model: Model) -> Array:
    """Points carried through all snapshots."""
    return model.transport(Y[:5], solver="euler:steps=2")


def backward(model: Model) -> Array:
    """Points carried from the last snapshot to the first."""
    times = model.timeline.times
    return model.transport(Y[:5], times[-1], times[0], solver="euler:steps=2")


def scores(model: Model) -> Array:
    """The scores at a few times, if there are any."""
    flow = model.flow
    if not isinstance(flow, Flow) or not model.reading.has_score:
        return np.zeros(1)
    x = torch.from_numpy(model.encode(Y[:5])).float()
    times = (0.0, 0.3, 0.5, 1.0)
    with torch.no_grad():
        found = [flow.drift(0).score(torch.full((5, 1), t), x) for t in times]
    return np.asarray(torch.stack(found).numpy())


def checked(model: Model, folder: Path) -> None:
    """Points and scores are finite, and the same once the model has been written and read."""
    (folder / checkpoint.MODEL).write_bytes(pack(model))
    again = load(folder)
    assert again.recipe == model.recipe
    # What is stored of the clouds, which static flows move, is rounded to float32.
    rounding = 0.0 if model.field.heads else 1e-6
    for use in (ahead, onward, backward, scores):
        found = use(model)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(use(again), found, rtol=rounding, atol=rounding)


def fitted(*clouds: Array, **settings: Any) -> Model:
    """A model of some steps."""
    return cfmcli.fit(*clouds, device="cpu", threads=1, **{**TINY, **settings}).core


@pytest.mark.parametrize(("path", "objective"), list(product(PATHS, OBJECTIVES)))
def test_paths_and_objectives(path: str, objective: str, tmp_path: Path) -> None:
    """Between random pairs; what a path lacks is refused with the way out."""
    gaussian = path in ONE_SIDED
    settings = {
        "coupling": "independent",
        "interpolant": path,
        "objective": objective,
        "source": "gaussian" if gaussian else "data",
    }
    if not possible(path, objective):
        with pytest.raises(ConfigError, match="--"):
            fitted(*tables(path, gaussian), **settings)
        return
    model = fitted(*tables(path, gaussian), **settings)
    told = objective in WITH_LATENT | {"denoiser"}
    assert model.reading.has_score == (told or gaussian)
    checked(model, tmp_path)


@pytest.mark.parametrize(
    ("path", "objective"), [("linear", "velocity"), ("brownian", "velocity+denoiser")]
)
@pytest.mark.parametrize("scope", ["dataset", "minibatch"])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_couplings_and_scopes(
    coupling: str, scope: str, path: str, objective: str, tmp_path: Path
) -> None:
    """Solved once or in every batch; rows that belong together cannot be drawn apart."""
    settings = {"coupling": coupling, "interpolant": path, "objective": objective, "scope": scope}
    if coupling == "paired" and scope == "minibatch":
        with pytest.raises(ConfigError, match="leave --scope"):
            fitted(X, Y, **settings)
        return
    checked(fitted(X, Y, **settings), tmp_path)


@pytest.mark.parametrize("path", ["linear", "trigonometric:gamma=sqrt", "encdec"])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_couplings_with_noise(
    coupling: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From N(0, I): random pairs alone tell the score of a velocity."""
    monkeypatch.setattr(binding, "POOL", 1200)
    settings = {"coupling": coupling, "interpolant": path, "source": "gaussian"}
    if coupling == "paired":
        with pytest.raises(ConfigError, match="--from-run"):
            fitted(Y, **settings)
        return
    # Pools of noise are larger than the target, and no partition joins clouds of two sizes.
    unequal = pytest.warns(CfmWarning, match="blocks") if coupling == "bsp" else nullcontext()
    with unequal:
        model = fitted(Y, method="otcfm", **settings)
    assert model.reading.has_score == (coupling == "independent")
    checked(model, tmp_path)


@pytest.mark.parametrize("path", ["linear", "spline:gamma=sine", "bent", "learned"])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_couplings_of_three_snapshots(coupling: str, path: str, tmp_path: Path) -> None:
    """Every coupling makes chains, but those that leave points out."""
    settings = {"coupling": coupling, "interpolant": path, "times": (0.0, 1.0, 4.0)}
    if coupling in LEAVES_OUT and path.startswith("spline"):
        with pytest.raises(ConfigError, match="--coupling exact"):
            fitted(X, Y, Z, **settings)
        return
    checked(fitted(X, Y, Z, **settings), tmp_path)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_couplings_that_move_points_themselves(coupling: str, tmp_path: Path) -> None:
    """Without a network, over two snapshots and three."""
    for clouds in ((X, Y), (X, Y, Z)):
        checked(fitted(*clouds, method="static-ot", coupling=coupling), tmp_path)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_couplings_within_classes(coupling: str, tmp_path: Path) -> None:
    """A flow of each class, which a guide chooses and guidance exaggerates."""
    kinds = np.tile(["a", "b"], 20)
    clouds = [pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "kind": kinds}) for x in (X, Y)]
    how: dict[str, Any] = {"label_key": "kind", "coupling": coupling, **TINY}
    how |= {"interpolant": "vp", "objective": "v+denoiser"}
    model = cfmcli.fit(*clouds, device="cpu", threads=1, **how).core
    (tmp_path / checkpoint.MODEL).write_bytes(pack(model))
    found = []
    for m in (model, load(tmp_path)):
        assert isinstance(m.flow, Flow)
        told = torch.as_tensor(m.conditions.encode(pd.DataFrame({"kind": kinds[:5]}))).float()
        for w in (0.0, 1.0, 2.0):
            solver = deterministic("euler:steps=2")
            paths = m.flow.paths(m.encode(X[:5]), (0.0, 1.0), solver, Guide(told, w))
            found.append(paths.points[-1])
    assert np.isfinite(found).all()
    assert np.array_equal(found[:3], found[3:])
    assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize("objective", ["velocity", "v+score", "v+score:weighted=false"])
@pytest.mark.parametrize("gamma", [name for name in oracles.LATENTS if name != "none"])
@pytest.mark.parametrize(
    "path", ["linear", "trigonometric", "spline", "bent", "encdec", "vp", "mirror"]
)
def test_latents(path: str, gamma: str, objective: str, tmp_path: Path) -> None:
    """Every shape of noise on every path that has a choice."""
    spec = f"{path}:gamma={gamma},a=0.8"
    settings = {"coupling": "independent", "interpolant": spec, "objective": objective}
    checked(fitted(*tables(path, False), **settings), tmp_path)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("objective", ["velocity", "sf2m", "v+denoiser"])
def test_schedules(schedule: str, objective: str, tmp_path: Path) -> None:
    """Every bridge."""
    spec = f"brownian:sigma=0.5,schedule={schedule}"
    checked(fitted(X, Y, interpolant=spec, objective=objective), tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two clouds as files."""
    folder = tmp_path_factory.mktemp("clouds")
    for name, points in (("x", X), ("y", Y)):
        np.save(folder / f"{name}.npy", points)
    return folder / "x.npy", folder / "y.npy"


@pytest.fixture(scope="module")
def parents(
    tmp_path_factory: pytest.TempPathFactory, fit_run: Callable[..., Any], files: tuple[Path, ...]
) -> dict[str, Path]:
    """A run from points, a run from noise, and one that learns nothing."""
    folder = tmp_path_factory.mktemp("parents")
    wanted = {
        "data": (files, {}),
        "gaussian": (files[1:], {"method": "fm", "source": "gaussian"}),
        "static": (files, {"method": "static-ot"}),
    }
    for name, (inputs, settings) in wanted.items():
        fit_run(folder / name, *inputs, **TINY, **settings)
    return {name: folder / name for name in wanted}


@pytest.mark.parametrize("method", [name for name in catalog.names("methods") if name != "rf"])
def test_every_method_leaves_a_run(
    method: str, files: tuple[Path, ...], fit_run: Callable[..., Any], tmp_path: Path
) -> None:
    """From points, or from noise where it cannot start from points."""
    noise = method == "fm"
    settings = {"method": method, "source": "gaussian" if noise else "data"}
    done = fit_run(tmp_path / "run", *files[noise:], pictures=True, **TINY, **settings)
    model = load(tmp_path / "run")
    checked(model, tmp_path)
    learns = method != "static-ot"
    assert bool(model.field.heads) == learns
    assert Path(done.outputs["model"]).exists()
    assert (tmp_path / "run" / "losses.csv").exists() == learns
    drawn = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert drawn == {"clouds.png", *["loss.png"] * learns}


@pytest.mark.parametrize("parent", ["data", "gaussian", "static"])
def test_a_run_is_straightened(
    parent: str,
    parents: dict[str, Path],
    fit_run: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the clouds, coordinates and clock of its parent, and nothing of its own data."""
    monkeypatch.setattr(binding, "POOL", 60)
    run = tmp_path / "run"
    fit_run(run, **TINY, method="rf", from_run=str(parents[parent]), pictures=True)
    assert (run / "figures" / "clouds.png").exists()
    model, origin = load(run), load(parents[parent])
    checked(model, tmp_path)
    assert model.timeline == origin.timeline
    assert model.gaussian_source == origin.gaussian_source
    assert np.array_equal(model.encode(X), origin.encode(X))
    assert not model.reading.has_score
    resumed = fit_run(run, resume=True, **TINY, method="rf", from_run=str(parents[parent]))
    assert "nothing to do" in resumed.notes[0]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"transform": "none"}, "--transform none: .* with --transform standardize and decides"),
        ({"source": "gaussian"}, "--source gaussian: .* with --source data and decides"),
        ({"label_key": "kind"}, "--label-key kind: .* fitted without --label-key and decides"),
        ({"times": (0.0, 2.5)}, "--times 0,2.5: .* fitted without --times and decides"),
    ],
)
def test_a_straightened_run_decides_about_its_data(
    what: dict[str, Any],
    told: str,
    parents: dict[str, Path],
    files: tuple[Path, ...],
    fit_run: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Settings of the data that differ are refused, and so are other files; the same are not."""
    how = {**TINY, "method": "rf", "from_run": str(parents["data"])}
    with pytest.raises(ConfigError, match=f"{told} it; leave it out"):
        fit_run(tmp_path / "run", **how, **what)
    with pytest.raises(ConfigError, match="leave DATA out"):
        fit_run(tmp_path / "run", files[0], **how)
    fit_run(tmp_path / "run", *files, **how)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"method": "wfrfm", "drop": "rate"}, "--method wfrfm"),
        ({"method": "wfrfm", "drop": "rate", "mass": "equal"}, "--method wfrfm"),
        ({"method": "wfrfm", "growth_key": "rate"}, "--growth-key rate"),
        ({"growth_key": "rate"}, "--growth-key rate"),
        ({"method": "static-ot", "growth_key": "rate"}, "--growth-key rate"),
    ],
)
def test_what_grows_is_not_straightened(
    how: dict[str, Any], told: str, fit_run: Callable[..., Any], tmp_path: Path
) -> None:
    """Pairs that a flow makes join one with one, and tell no growth, learnt or known."""
    table = pd.DataFrame(np.vstack((X, Y)), columns=["a", "b"])
    table.assign(day=np.repeat([0, 1], 40), rate=0.5).to_csv(tmp_path / "x.csv", index=False)
    fit_run(tmp_path / "parent", tmp_path / "x.csv", time_key="day", **TINY, **how)
    with pytest.raises(ConfigError, match=rf"fitted with {told}, .*fit DATA anew"):
        fit_run(tmp_path / "run", **TINY, method="rf", from_run=str(tmp_path / "parent"))
