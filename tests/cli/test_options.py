"""Every option of every command does something that a user can see."""

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

from cfmcli import plots
from tests.cli.harness import COMMANDS, Cfm
from tests.cli.room import carry_out, digest, interrupted

TINY = "--batch-size 16 --field mlp:width=4,depth=1"
FIT = f"fit a.csv b.csv -o new --steps 30 {TINY}"
DAYS = f"fit days.csv --time-key day --drop weight,stage,number -o new --steps 30 {TINY}"
CELLS = f"fit cells.h5ad --time-key day -o new --steps 30 {TINY}"
STOPPED = f"fit a.csv b.csv -o half --steps 400 {TINY}"
KINDS = "fit a.csv kinds.csv --covariates dose -o new --steps 30 " + TINY
TOLD = "--label p --covariate dose=1"
SAMPLE = "sample run -o out.csv"
MOVE = "transport run a.csv -o out.csv"
SCORE = "likelihood run a.csv -o out.csv"
NOISY = SCORE.replace("run", "noisy") + " --estimator sde:paths=4,steps=5"
JUDGE = "evaluate run --max-points 20 -o out.csv"
MERGE = "merge part1.csv part2.csv -o out.csv"
FATE = "fate days days.csv --label-key branch -o out.csv"
KIND_FATE = f"fate kinds kinds.csv --label-key kind -o out.csv {TOLD}"
DRAWN = "fate noisy a.csv --label-key branch --against labels.csv --draws 4 -o out.csv"
DRAWN += " --solver euler-maruyama:steps=5 --sde 0.2"
GENES = "genes days --frames 3 -o out.csv"
KIND_GENES = f"{GENES} {TOLD}".replace("days", "kinds")
DRAW = "plot run -o out.png --what loss"
LAID = "plot cells -o out.png --what fates --colour day --basis pca --data cells.h5ad"
TELL = "report run -o out.html --max-points 5 --what loss"
TOLD_OF = LAID.replace("plot", "report").replace("png", "html") + " --max-points 5"
PATHS = "interpolate days --frames 3 -o out.csv"
LEFT = DAYS.replace("fit", "evaluate").replace("-o new", "-o out.csv")
CELLS_LEFT = CELLS.replace("fit", "evaluate").replace("-o new", "-o out.csv")

# option -> a command, and what is added to it, or the other command where a word is replaced.
ROWS: dict[str, dict[str, tuple[str, str]]] = {
    "fit": {
        "--output": (FIT, FIT.replace("-o new", "--output other")),
        "--config": (FIT, "--config slow.toml"),
        "--resume": (STOPPED, "--resume"),
        "--force": (FIT.replace("new", "run"), "--force"),
        "--dry-run": (FIT, "--dry-run"),
        "--nproc": (FIT.replace("size 16", "size 15"), "--nproc 2"),
        "--ot-workers": (f"{FIT} --scope minibatch", "--ot-workers 1"),
        "--write-couplings": (FIT, "--write-couplings"),
        "--source": (FIT.replace("b.csv ", ""), "--source gaussian"),
        "--time-key": (FIT.replace("a.csv b.csv", "days.csv"), "--time-key day"),
        "--label-key": (DAYS.replace("stage,", ""), "--label-key stage"),
        "--covariates": (DAYS.replace("stage,", ""), "--covariates stage"),
        "--condition-cost": (KINDS, "--condition-cost 0"),
        "--condition-dropout": (KINDS, "--condition-dropout 0.5"),
        "--from-run": (FIT.replace("a.csv b.csv", "a.csv b.csv --coupling paired"),
                       FIT.replace("a.csv b.csv", "--coupling paired --from-run run")),
        "--weight-key": (DAYS, "--weight-key weight"),
        "--growth-key": (DAYS, "--growth-key weight"),
        "--growth-kind": (f"{DAYS} --growth-key weight", "--growth-kind score"),
        "--mass": (f"{DAYS} --method wfrfm", "--mass 1,2,4"),
        "--id-key": (DAYS, "--id-key number"),
        "--features": (FIT, "--features x"),
        "--drop": (FIT, "--drop y"),
        "--where": (DAYS, "--where \"branch == 'p'\""),
        "--layer": (CELLS, "--layer scaled"),
        "--use-rep": (CELLS, "--use-rep X_pca"),
        "--times": (FIT, "--times 2,7"),
        "--time-order": (DAYS, "--time-order d2,d1,d0"),
        "--time-map": (DAYS, "--time-map d0=0,d1=2,d2=9"),
        "--holdout": (DAYS, "--holdout d1"),
        "--preprocess": (f"{CELLS} --layer counts", "--preprocess scanpy:genes=0,pcs=2"),
        "--transform": (FIT, "--transform none"),
        "--method": (FIT, "--method icfm"),
        "--coupling": (FIT, "--coupling independent"),
        "--interpolant": (FIT, "--interpolant linear:sigma=0.5"),
        "--objective": (
            f"{FIT} --interpolant linear:sigma=0.5", "--objective velocity+denoiser"
        ),
        "--field": (FIT, "--field mlp:width=5,depth=1"),
        "--scope": (FIT, "--scope minibatch"),
        "--ot-batch": (f"{FIT} --scope minibatch", "--ot-batch 4"),
        "--steps": (FIT, "--steps 31"),
        "--batch-size": (FIT, "--batch-size 17"),
        "--lr": (FIT, "--lr 0.1"),
        "--ema": (FIT, "--ema 0.5"),
        "--validation": (FIT, "--validation 0.25"),
        "--patience": (f"{FIT} --steps 200 --lr 0.9 --validation 0.25", "--patience 1"),
        "--precision": (FIT, "--precision bf16"),
        "--seed": (FIT, "--seed 1"),
        "--no-progress": (FIT, "--no-progress"),
        "--debug": (FIT.replace("a.csv", "none.csv"), "--debug"),
    },
    "sample": {
        "--output": (SAMPLE, SAMPLE.replace("-o out", "--output other")),
        "--count": (SAMPLE, "--count 7"),
        "--time": (SAMPLE, "--time 0.5"),
        "--seed": (SAMPLE, "--seed 1"),
        "--debug": (SAMPLE.replace("run", "none"), "--debug"),
    },
    "transport": {
        "--output": (MOVE, MOVE.replace("-o out", "--output other")),
        "--from": (MOVE, "--from 0.5"),
        "--to": (MOVE, "--to 0.5"),
        "--against": (MOVE, "--against days.csv"),
        "--max-points": (MOVE, "--max-points 9"),
        "--set": (MOVE, "--set x=0"),
        "--seed": (f"{MOVE} --max-points 9", "--seed 1"),
        "--debug": (MOVE.replace("run", "none"), "--debug"),
    },
    "likelihood": {
        "--output": (SCORE, SCORE.replace("-o out", "--output other")),
        "--time": (SCORE, "--time 0.5"),
        "--base": (SCORE, "--base kde"),
        "--known": (SCORE, "--known target"),
        "--estimator": (f"{NOISY} --sde 0.4", "--estimator feynman-kac:paths=9,steps=5"),
        "--divergence": (SCORE, "--divergence hutchinson:probes=2"),
        "--seed": (f"{SCORE} --divergence hutchinson:probes=2", "--seed 1"),
        "--debug": (SCORE.replace("run", "none"), "--debug"),
    },
    "interpolate": {
        "--output": (PATHS, PATHS.replace("-o out", "--output other")),
        "--times": (PATHS, PATHS.replace("--frames 3", "--times 0,0.5,2")),
        "--frames": (PATHS, PATHS.replace("--frames 3", "--frames 4")),
        "--from": (PATHS, "--from d1"),
        "--population": (PATHS, "--population"),
        "--sides": (f"{PATHS.replace('frames 3', 'times 0.5')} --population", "--sides both"),
        "--cells": (PATHS, "--cells ids.txt"),
        "--where": (PATHS, "--where \"branch == 'p'\""),
        "--seed": (PATHS.replace("days", "normal"), "--seed 1"),
        "--debug": (PATHS.replace("days", "none"), "--debug"),
    },
    "fate": {
        "--output": (FATE, FATE.replace("-o out", "--output other")),
        "--label-key": (FATE, FATE.replace("branch", "stage")),
        "--from": (FATE, "--from d1"),
        "--to": (FATE, "--to d1"),
        "--against": (FATE, "--against labels.csv"),
        "--neighbours": (FATE, "--neighbours 2"),
        "--spread": (FATE, "--spread 2"),
        "--draws": (DRAWN, DRAWN.replace("--draws 4", "--draws 5")),
        "--truth": (FATE, "--truth branch"),
        "--set": (FATE, "--set x=0"),
        "--label": (KIND_FATE, KIND_FATE.replace("--label p", "--label q")),
        "--covariate": (KIND_FATE, KIND_FATE.replace("dose=1", "dose=2")),
        "--guidance": (KIND_FATE, "--guidance 9"),
        "--sde": (DRAWN, DRAWN.replace("--sde 0.2", "--sde bridge:level=0.7")),
        "--seed": (DRAWN, "--seed 1"),
        "--no-progress": (FATE, "--no-progress"),
        "--debug": (FATE.replace("days", "none", 1), "--debug"),
    },
    "genes": {
        "--output": (GENES, GENES.replace("-o out", "--output other")),
        "--genes": (GENES, "--genes x"),
        "--top": (GENES, "--top 1"),
        "--label-key": (GENES, "--label-key branch"),
        "--fate-key": (GENES, "--fate-key branch"),
        "--fates": (GENES, "--fates fates.csv"),
        "--times": (GENES, GENES.replace("--frames 3", "--times 0,0.5,2")),
        "--frames": (GENES, GENES.replace("--frames 3", "--frames 4")),
        "--from": (GENES, "--from d1"),
        "--cells": (GENES, "--cells ids.txt"),
        "--where": (GENES, "--where \"branch == 'p'\""),
        "--label": (KIND_GENES, KIND_GENES.replace("--label p", "--label q")),
        "--covariate": (KIND_GENES, KIND_GENES.replace("dose=1", "dose=2")),
        "--guidance": (KIND_GENES, "--guidance 2"),
        "--sde": (
            f"{GENES} --solver euler-maruyama:steps=5 --sde 0.2".replace("days", "noisy"),
            "--sde bridge:level=0.7",
        ),
        "--seed": (GENES.replace("days", "normal"), "--seed 1"),
        "--debug": (GENES.replace("days", "none"), "--debug"),
    },
    "evaluate": {
        "--output": (JUDGE, JUDGE.replace("-o out", "--output other")),
        "--against": (JUDGE, "--against days.csv"),
        "--time": ("evaluate days --max-points 20 -o out.csv", "--time d1"),
        "--max-points": (JUDGE, "--max-points 9"),
        "--seed": (JUDGE, "--seed 1"),
        "--no-progress": (JUDGE, "--no-progress"),
        "--debug": (JUDGE.replace("run", "none"), "--debug"),
    },
    "merge": {
        "--output": (MERGE, MERGE.replace("-o out", "--output other")),
        "--data": (MERGE.replace(".csv", ".h5ad"), "--data cells.h5ad"),
        "--force": (MERGE.replace("out.csv", "b.csv"), "--force"),
        "--dry-run": (MERGE, "--dry-run"),
        "--debug": (MERGE.replace("part1", "none"), "--debug"),
    },
    "plot": {
        "--output": (DRAW, DRAW.replace("-o out.png", "--output other.png")),
        "--what": (DRAW, "--what clouds"),
        "--format": (DRAW.replace("out.png", "p"), "--format svg"),
        "--data": (LAID, LAID.replace("cells.h5ad", "laid.h5ad")),
        "--basis": (LAID.replace("--basis pca", ""), "--basis pca"),
        "--label-key": (f"{DRAW.replace('run', 'days')} --what trends", "--label-key branch"),
        "--colour": (f"{DRAW.replace('run', 'days')} --what fates --colour branch", "--colour day"),
        "--features": (f"{DRAW} --what trends", "--features y"),
        "--seed": (f"{DRAW} --what clouds", "--seed 1"),
        "--no-progress": (DRAW, "--no-progress"),
        "--debug": (DRAW.replace("run", "none"), "--debug"),
    },
    "report": {
        "--output": (TELL, TELL.replace("-o out.html", "--output other.html")),
        "--multiqc": (TELL, "--multiqc ."),
        "--sample-id": (f"{TELL} --multiqc .", "--sample-id donor"),
        "--max-points": (TELL, "--max-points 9"),
        "--what": (TELL, "--what clouds"),
        "--data": (TOLD_OF, TOLD_OF.replace("cells.h5ad", "laid.h5ad")),
        "--basis": (TOLD_OF.replace("--basis pca", ""), "--basis pca"),
        "--label-key": (f"{TELL.replace('run', 'days')} --what trends", "--label-key branch"),
        "--colour": (f"{TELL.replace('run', 'days')} --what fates --colour branch", "--colour day"),
        "--features": (f"{TELL} --what trends", "--features y"),
        "--seed": (f"{TELL} --what clouds", "--seed 1"),
        "--no-progress": (TELL, "--no-progress"),
        "--debug": (TELL.replace("run", "none"), "--debug"),
    },
    "info": {"--debug": ("info none.csv", "--debug")},
    "list": {"--debug": ("list nothing", "--debug")},
}  # fmt: skip
# The options of a fit, where it is a course with a day left out that is fitted.
ROWS["evaluate"] |= {
    "--seeds": (LEFT, "--seeds 2"),
    "--strict": (LEFT, "--strict"),
    "--growth-key": (LEFT, "--growth-key weight"),
    "--growth-kind": (f"{LEFT} --growth-key weight", "--growth-kind score"),
    "--mass": (f"{LEFT} --method wfrfm", "--mass 1,2,4"),
    "--by": (LEFT, "--by branch"),
    "--config": (LEFT, "--config slow.toml"),
    "--source": (LEFT, "--source gaussian"),
    "--time-key": (LEFT.replace("--time-key day ", ""), "--time-key day"),
    "--label-key": (LEFT.replace("stage,", ""), "--label-key stage"),
    "--covariates": (LEFT.replace("stage,", ""), "--covariates stage"),
    "--condition-cost": (f"{LEFT} --covariates stage", "--condition-cost 0"),
    "--condition-dropout": (f"{LEFT} --covariates stage", "--condition-dropout 0.5"),
    "--from-run": (LEFT, "--from-run run"),
    "--weight-key": (LEFT, "--weight-key weight"),
    "--id-key": (LEFT, "--id-key none"),
    "--features": (LEFT, "--features x"),
    "--drop": (LEFT.replace("--drop weight,stage,number", ""), "--drop weight,stage,number"),
    "--where": (LEFT, "--where \"branch == 'p'\""),
    "--layer": (CELLS_LEFT, "--layer scaled"),
    "--use-rep": (CELLS_LEFT, "--use-rep X_pca"),
    "--times": (f"evaluate a.csv b.csv a.csv -o out.csv {TINY} --steps 30", "--times 0,2,7"),
    "--time-order": (LEFT, "--time-order d2,d0,d1"),
    "--time-map": (LEFT, "--time-map d0=0,d1=2,d2=9"),
    "--holdout": (LEFT, "--holdout d2"),
    "--preprocess": (f"{CELLS_LEFT} --layer counts", "--preprocess scanpy:genes=0,pcs=2"),
    "--transform": (LEFT, "--transform none"),
    "--method": (LEFT, "--method icfm,static-ot"),
    "--coupling": (LEFT, "--coupling independent"),
    "--interpolant": (LEFT, "--interpolant linear:sigma=0.5"),
    "--objective": (f"{LEFT} --interpolant linear:sigma=0.5", "--objective velocity+denoiser"),
    "--field": (LEFT, "--field mlp:width=5,depth=1"),
    "--scope": (LEFT, "--scope minibatch"),
    "--ot-batch": (f"{LEFT} --scope minibatch", "--ot-batch 4"),
    "--steps": (LEFT, "--steps 31"),
    "--batch-size": (LEFT, "--batch-size 17"),
    "--lr": (LEFT, "--lr 0.1"),
    "--ema": (LEFT, "--ema 0.5"),
    "--validation": (LEFT, "--validation 0.25"),
    "--patience": (f"{LEFT} --steps 400 --lr 0.4 --ema 0 --validation 0.25", "--patience 1"),
    "--precision": (LEFT, "--precision bf16"),
}
BASES = {"fit": FIT, "sample": SAMPLE, "transport": MOVE, "likelihood": SCORE}
BASES |= {
    "interpolate": PATHS,
    "fate": FATE,
    "genes": GENES,
    "evaluate": JUDGE,
    "merge": MERGE,
    "plot": DRAW,
    "report": TELL,
    "info": "info run",
    "list": "list solvers",
}
for _name, _line in BASES.items():
    ROWS[_name] |= {
        "--verbose": (_line, "--verbose"),
        "--log-file": (_line, "--log-file log.txt"),
        "--json": (_line, "--json"),
    }
    if _name not in ("info", "list"):
        ROWS[_name] |= {"--quiet": (_line, "--quiet")}
    if _name not in ("info", "list", "merge"):
        ROWS[_name] |= {
            "--threads": (_line, "--threads 2"),
            "--device": (_line, "--device cuda:9"),
        }
    if _name in ("sample", "transport", "likelihood", "interpolate"):
        ROWS[_name] |= {
            "--shard": (_line, "--shard 1/2"),
            "--jobs": (f"{_line} --shard 1/2", "--jobs 2"),
        }
        _told = f"{_line.replace(' run ', ' kinds ').replace(' days ', ' kinds ')} {TOLD}"
        ROWS[_name] |= {
            "--label": (_told, _told.replace("--label p", "--label q")),
            "--covariate": (_told, _told.replace("dose=1", "dose=2")),
        }
        if _name != "likelihood":
            ROWS[_name] |= {
                "--guidance": (_told, "--guidance 2"),
                "--precision": (f"{_line} --solver euler:steps=2", "--precision bf16"),
            }
        _noisy = _line.replace(" run ", " noisy ").replace(" days ", " noisy ")
        _noisy = NOISY if _name == "likelihood" else f"{_noisy} --solver euler-maruyama:steps=5"
        ROWS[_name] |= {"--sde": (f"{_noisy} --sde 0.2", "--sde bridge:level=0.7")}
    if _name in ("plot", "report"):
        _written = "out.png" if _name == "plot" else "out.html"
        ROWS[_name] |= {
            "--force": (_line.replace(_written, f"old{Path(_written).suffix}"), "--force")
        }
    if _name not in ("fit", "merge", "plot", "report", "info", "list"):
        ROWS[_name] |= {
            "--solver": (_line, "--solver euler:steps=2"),
            "--atol": (_line, "--atol 1"),
            "--rtol": (_line, "--rtol 1e-9"),
            "--dry-run": (_line, "--dry-run"),
            "--force": (_line.replace("out.csv", "b.csv"), "--force"),
        }
# The nodes of a likelihood keep the steps of so smooth a flow small, however wide the tolerance.
ROWS["likelihood"]["--atol"] = (ROWS["likelihood"]["--atol"][0], "--atol 1e-9")
# Votes hear of a relative tolerance only where the absolute one is silent.
ROWS["fate"]["--rtol"] = (f"{FATE} --atol 1e-9", "--rtol 1e-9")

# Common options that such a command takes, like every other, and has nothing to do with.
IDLE = {
    **dict.fromkeys(
        ("sample", "transport", "likelihood", "interpolate", "genes"), ("--no-progress",)
    ),
    "merge": ("--seed 1", "--device cpu", "--threads 2", "--no-progress"),
    **dict.fromkeys(
        ("info", "list"), ("--seed 1", "--device cpu", "--threads 2", "--quiet", "--no-progress")
    ),
}
ANSWERS = [(name, option) for name, options in IDLE.items() for option in options]
CASES = [(name, option) for name, options in ROWS.items() for option in options]


@pytest.fixture(autouse=True, scope="module")
def undrawn() -> Iterator[None]:
    """A fit's own pictures are no proof: they only show what its other files tell."""
    with patch.object(plots, "of_run", return_value={}):
        yield


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a little of everything."""
    folder = tmp_path_factory.mktemp("shelf")
    before = Path.cwd()
    os.chdir(folder)
    try:
        _stock()
    finally:
        os.chdir(before)
    return folder


def _stock() -> None:
    """Make the files and runs that the rows speak of."""
    rng = np.random.default_rng(0)
    for name, shift in (("a", 0), ("b", 2)):
        points = pd.DataFrame(rng.normal(shift, 1, (40, 2)).round(3), columns=["x", "y"])
        points.to_csv(f"{name}.csv", index=False)
    days = pd.DataFrame(rng.normal(0, 1, (60, 2)).round(3), columns=["x", "y"])
    days["x"] += np.repeat([0.0, 2.0, 3.0], 20)
    days.insert(0, "cell", [f"c{k}" for k in range(60)])
    days = days.assign(day=np.repeat(["d0", "d1", "d2"], 20), branch=["p", "q"] * 30)
    kinds = days[["x", "y"]].assign(kind=["p", "q"] * 30, dose=[1, 2, 3] * 20)
    kinds.to_csv("kinds.csv", index=False)
    days = days.assign(weight=rng.random(60) + 0.1, stage=[1, 2, 3] * 20, number=range(100, 160))
    days.to_csv("days.csv", index=False)
    cells = ad.AnnData(rng.normal(size=(60, 3)), obs=days[["day"]].set_axis(days["cell"]))
    cells.obsm["X_pca"], cells.layers["scaled"] = rng.normal(size=(60, 2)), 2 * cells.X**3
    cells.layers["counts"] = rng.poisson(9, size=(60, 3))
    cells.write_h5ad("cells.h5ad")
    cells.obsm["X_pca"] = cells.obsm["X_pca"][::-1]
    cells.write_h5ad("laid.h5ad")
    for name in ("old.png", "old.html"):
        Path(name).write_text("")
    Path("ids.txt").write_text("c3\nc1\n")
    Path("slow.toml").write_text("lr = 0.5\n")
    assert carry_out(f"fit a.csv b.csv -o run --steps 75 {TINY}") == 0
    days.assign(branch=["q", "q", "p"] * 20).to_csv("labels.csv", index=False)
    assert carry_out(DAYS.replace("new", "days")) == 0
    assert carry_out(FATE.replace("out", "fates")) == 0
    assert carry_out(f"{KINDS.replace('new', 'kinds')} --label-key kind") == 0
    assert carry_out(CELLS.replace("new", "cells")) == 0
    latent = "--interpolant linear:gamma=sqrt --objective velocity+denoiser"
    assert carry_out(f"fit a.csv b.csv -o noisy --steps 30 {latent} {TINY}") == 0
    assert carry_out(f"fit a.csv --source gaussian -o normal --steps 30 {TINY}") == 0
    for k, suffix in itertools.product((1, 2), ("csv", "h5ad")):
        data = {"csv": "run a.csv", "h5ad": "cells cells.h5ad"}[suffix]
        assert carry_out(f"transport {data} --shard {k}/2 -o part{k}.{suffix}") == 0
    Path("part1.h5ad.shard.json").write_text(
        Path("part1.h5ad.shard.json").read_text().replace("cells.h5ad", "moved.h5ad")
    )
    assert interrupted(STOPPED, signal.SIGINT)[0] == 130


def _content(path: Path) -> Any:
    """What a file holds, without what differs between equal runs or only repeats the request."""
    if path.name in ("recipe.toml", "metrics.json", "provenance.json"):
        return ""
    if path.name == "losses.csv":
        return pd.read_csv(path).drop(columns="seconds").to_csv()
    if path.name == "log.txt":
        return bool(path.read_text())
    if path.name != "model.safetensors":
        return digest(path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["cfm"])
    return {key: value for key, value in facts.items() if key != "recipe"}, content[8 + length :]


def _timeless(text: str) -> str:
    """A text without its durations and speeds."""
    return re.sub(r"\S+/s\b|\S+ s\b|seconds\S* \S+", "", text)


Sight = dict[str, Any]
Look = Callable[..., Sight]


@pytest.fixture(scope="session")
def seen() -> dict[str, Sight]:
    """What was seen of the commands so far."""
    return {}


@pytest.fixture
def look(
    shelf: Path,
    seen: dict[str, Sight],
    tmp_path: Path,
    cfm: Cfm,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Look]:
    """What a user sees of a command: code, streams, threads in use, and the files there are."""
    monkeypatch.setenv("CFM_THREADS", "1")
    monkeypatch.setattr(sys, "argv", ["cfm"])

    def see(line: str) -> Sight:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(shelf, folder)
        monkeypatch.chdir(folder)
        torch.set_num_threads(1)
        ran = cfm(*shlex.split(line))
        out = sorted(json.loads(ran.out)) if ran.out.startswith("{") else ran.out
        names = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        return {
            "code": ran.code,
            "stdout": out,
            "stderr": _timeless(ran.err),
            "threads": torch.get_num_threads(),
            "files": {str(p.relative_to(folder)): _content(p) for p in names},
        }

    def known(line: str, *, again: bool = False) -> Sight:
        if again or line not in seen:
            seen[line] = see(line)
        return seen[line]

    yield known
    torch.set_num_threads(1)


def _whole(line: str, more: str) -> str:
    """A command with an option more, or the other command."""
    return f"{line} {more}" if more.startswith("--") else more


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_is_forgotten(name: str) -> None:
    """Every option of a command has a row here."""
    there = {item.opts[0] for item in COMMANDS[name].params if item.param_type_name == "option"}
    assert there == {*ROWS[name], *(option.split()[0] for option in IDLE.get(name, ()))}


@pytest.mark.parametrize("name", BASES)
def test_the_same_command_looks_the_same(name: str, look: Look) -> None:
    """Without another option there is no difference, or the rows would prove nothing."""
    first = look(BASES[name])
    assert look(BASES[name], again=True) == first
    assert first["code"] == 0


@pytest.mark.parametrize(("name", "option"), CASES)
def test_every_option_changes_something(name: str, option: str, look: Look) -> None:
    """With the option the command is answered otherwise than without."""
    line, more = ROWS[name][option]
    other = _whole(line, more)
    assert option in shlex.split(other)
    assert look(other) != look(line)


@pytest.mark.parametrize(("name", "option"), ANSWERS)
def test_idle_options_change_nothing(name: str, option: str, look: Look) -> None:
    """What a command has nothing to do with is taken, as promised, and does nothing."""
    answer = look(f"{BASES[name]} {option}")
    assert answer["code"] == 0
    assert answer == look(BASES[name])
