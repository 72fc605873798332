"""stdout is data, stderr is talk, --json is for machines, and requests say what was typed."""

import json
import math
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import cfmcli
from cfmcli.errors import CfmWarning
from cfmcli.requests import (
    Condition,
    EvaluateRequest,
    FitRequest,
    Integration,
    InterpolateRequest,
    LeaveOutRequest,
    LikelihoodRequest,
    Listener,
    Outcome,
    PlotRequest,
    Progress,
    ReportRequest,
    Runtime,
    SampleRequest,
    Scoring,
    TransportRequest,
    View,
)
from tests.cli.harness import (
    EVALUATE,
    FIT,
    INTERPOLATE,
    LIKELIHOOD,
    PLOT,
    REPORT,
    SAMPLE,
    TRANSPORT,
    WRITERS,
    Cfm,
    Stub,
)

STEPS = 1000


def busy(listen: Listener) -> Outcome:
    """A workflow that has something to say on every channel."""
    for step in range(1, STEPS + 1):
        listen(Progress(step, STEPS, f"loss {1 / step:.3f}"))
    for _ in range(3):
        warnings.warn("Column z is constant.", CfmWarning, stacklevel=2)
    warnings.warn("other library", UserWarning, stacklevel=2)
    figures = {"w1": 0.25, "se": math.nan, "all": [1, math.inf], "more": {"x": (2, -math.inf)}}
    return Outcome({"points": "out.csv"}, figures, ("times: 0, 1",))


@pytest.mark.parametrize("arguments", WRITERS, ids=lambda arguments: arguments[0])
def test_json_is_one_object(arguments: tuple[str, ...], cfm: Cfm, stub: Stub) -> None:
    """stdout holds exactly one strict JSON object, with the promised keys and the figures."""
    stub.behave = busy
    ran = cfm(*arguments, "--json")
    told = json.loads(ran.out, parse_constant=pytest.fail)
    assert told.pop("seconds") >= 0
    assert told == {
        "command": arguments[0],
        "version": cfmcli.__version__,
        "outputs": {"points": "out.csv"},
        "warnings": ["Column z is constant."],
        "w1": 0.25,
        "se": None,
        "all": [1, None],
        "more": {"x": [2, None]},
    }


@pytest.mark.parametrize("arguments", WRITERS, ids=lambda arguments: arguments[0])
def test_stdout_is_silent_without_json(arguments: tuple[str, ...], cfm: Cfm, stub: Stub) -> None:
    """Notes, figures, progress and warnings go to stderr."""
    stub.behave = busy
    ran = cfm(*arguments)
    assert (ran.code, ran.out) == (0, "")
    assert {"times: 0, 1", "w1: 0.25", "warning: Column z is constant."} <= set(
        ran.err.splitlines()
    )


def test_warnings_are_told_once_and_only_ours(cfm: Cfm, stub: Stub) -> None:
    """A warning is told once; other libraries' only with --verbose."""
    stub.behave = busy
    assert cfm(*SAMPLE).err.count("Column z is constant.") == 1
    assert "other library" not in cfm(*SAMPLE).err
    assert "other library" in cfm(*SAMPLE, "--verbose").err


def test_verbose_names_the_outputs(cfm: Cfm, stub: Stub) -> None:
    """With --verbose the outputs are named."""
    stub.behave = busy
    assert "points: out.csv" in cfm(*SAMPLE, "-v").err


def test_quiet_leaves_warnings_and_errors(cfm: Cfm, stub: Stub) -> None:
    """--quiet silences notes and progress alone."""
    stub.behave = busy
    assert cfm(*SAMPLE, "-q").err == "warning: Column z is constant.\n"


def test_progress_is_a_few_plain_lines(cfm: Cfm, stub: Stub) -> None:
    """Off a terminal progress is about twenty lines, with no control characters."""
    stub.behave = busy
    said = cfm(*SAMPLE).err
    lines = re.findall(rf"^\d+/{STEPS}  loss .*$", said, re.MULTILINE)
    assert 10 <= len(lines) <= 21
    assert lines[-1].startswith(f"{STEPS}/{STEPS}")
    assert "\x1b" not in said
    assert "\r" not in said


def test_no_progress_leaves_the_rest(cfm: Cfm, stub: Stub) -> None:
    """--no-progress silences progress alone."""
    stub.behave = busy
    said = cfm(*SAMPLE, "--no-progress").err
    assert "loss" not in said
    assert "times: 0, 1" in said


def test_the_log_holds_everything(
    cfm: Cfm, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--log-file appends what is said, also what --quiet keeps from the terminal, with times."""
    log = tmp_path / "cfm.log"
    monkeypatch.setattr(sys, "argv", ["/bin/cfm", *SAMPLE])
    stub.behave = busy
    cfm(*SAMPLE, "-q", "--log-file", str(log))
    cfm("list", "no-such-family", "--log-file", str(log))
    lines = log.read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d "
    assert re.fullmatch(stamp + re.escape(f"cfm {shlex.join(SAMPLE)}  (cfm ") + r".*\)", lines[0])
    told = [re.sub(stamp, "", line) for line in lines]
    assert {"times: 0, 1", "warning: Column z is constant."} <= set(told)
    assert sum("loss" in line for line in told) > 10
    assert told[-1].startswith("error: Unknown family 'no-such-family'")


def test_an_impossible_log_is_refused(cfm: Cfm, stub: Stub, tmp_path: Path) -> None:
    """A log that cannot be written is told before any work."""
    ran = cfm(*SAMPLE, "--log-file", str(tmp_path / "none" / "cfm.log"))
    assert ran.code == 7
    assert "--log-file" in ran.err
    assert stub.asked == []


@pytest.mark.parametrize("arguments", WRITERS, ids=lambda arguments: arguments[0])
def test_common_options_make_the_runtime(
    arguments: tuple[str, ...], cfm: Cfm, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed, device, threads, force and the command line reach the workflow."""
    monkeypatch.setattr(sys, "argv", ["/bin/cfm", "fit", "a b.csv"])
    cfm(*arguments)
    cfm(*arguments, "--seed", "3", "--device", "cuda:1", "--threads", "2", "--force")
    command = "cfm fit 'a b.csv'"
    assert [asked[-2] for asked in stub.asked] == [
        Runtime(command=command),
        Runtime("cuda:1", 2, True, 3, command),
    ]


INTEGRATED = ("--solver", "rk4:steps=5", "--atol", "1e-3", "--rtol", "1e-4", "--dry-run")
CONDITION = ("--label", "T cell", "--covariate", "dose=0.5, age=-3")
VIEW = ("--data", "c.h5ad", "--basis", "umap", "--label-key", "k", "--colour", "p", "--features")
REQUESTS: list[tuple[tuple[str, ...], Any]] = [
    (FIT, FitRequest("run")),
    ((*FIT, "--resume", "--dry-run"), FitRequest("run", True, True)),
    (SAMPLE, SampleRequest("run", "out.csv")),
    (
        (*SAMPLE, "-n", "7", "--time", "d2", *INTEGRATED, *CONDITION, "--guidance", "2"),
        SampleRequest(
            *("run", "out.csv", 7, "d2", Integration("rk4:steps=5", 1e-3, 1e-4), True),
            condition=Condition("T cell", {"dose": 0.5, "age": -3.0}, 2.0),
        ),
    ),
    (TRANSPORT, TransportRequest("run", "in.csv", "out.csv")),
    (
        (
            *(*TRANSPORT, "--from", "5", "--to", "0.5", "--against", "c.csv"),
            *("--max-points", "9", *INTEGRATED, *CONDITION, "--guidance", "0"),
        ),
        TransportRequest(
            *("run", "in.csv", "out.csv", "5", "0.5", "c.csv", 9),
            integration=Integration("rk4:steps=5", 1e-3, 1e-4),
            dry_run=True,
            condition=Condition("T cell", {"dose": 0.5, "age": -3.0}, 0.0),
        ),
    ),
    (LIKELIHOOD, LikelihoodRequest("run", "in.csv", "out.csv")),
    (
        (
            *(*LIKELIHOOD, "--time", "2", "--base", "gmm:k=5"),
            *("--divergence", "hutchinson:probes=8", *INTEGRATED, *CONDITION),
        ),
        LikelihoodRequest(
            *("run", "in.csv", "out.csv", "2", Scoring("gmm:k=5", "hutchinson:probes=8")),
            integration=Integration("rk4:steps=5", 1e-3, 1e-4),
            dry_run=True,
            condition=Condition("T cell", {"dose": 0.5, "age": -3.0}),
        ),
    ),
    (INTERPOLATE, InterpolateRequest("run", "out.csv", frames=3)),
    (
        (
            *("interpolate", "run", "in.csv", "-o", "out.csv", "--times", "0.5,d2", "--from", "1"),
            *("--population", "--cells", "ids.txt", "--where", "kind == 'HSC'", *INTEGRATED),
            *("--sides", "both"),
            *(*CONDITION, "--guidance", "1.5"),
        ),
        InterpolateRequest(
            *("run", "out.csv", "in.csv", ("0.5", "d2"), 0, "1", True, "ids.txt", "kind == 'HSC'"),
            integration=Integration("rk4:steps=5", 1e-3, 1e-4),
            dry_run=True,
            condition=Condition("T cell", {"dose": 0.5, "age": -3.0}, 1.5),
            sides="both",
        ),
    ),
    (EVALUATE, EvaluateRequest("run")),
    (
        (
            *(*EVALUATE, "-o", "m.csv", "--against", "c.csv", "--time", "d2"),
            *("--max-points", "9", *INTEGRATED),
        ),
        EvaluateRequest(
            *("run", "m.csv", "c.csv", "d2", 9, Integration("rk4:steps=5", 1e-3, 1e-4), True)
        ),
    ),
    (PLOT, PlotRequest("run")),
    (
        (*PLOT, "-o", "p", "--what", "clouds, loss", "--format", "pdf", *VIEW, "a,b"),
        PlotRequest(
            *("run", "p", "pdf"), View("c.h5ad", "umap", "k", "p", ("a", "b"), ("clouds", "loss"))
        ),
    ),
    (REPORT, ReportRequest("run")),
    (
        (
            *(*REPORT, "-o", "r.html", "--multiqc", "m", "--sample-id", "s", "--max-points", "9"),
            *("--what", "loss", *VIEW, "a"),
        ),
        ReportRequest(
            "run", "r.html", "m", "s", 9, View("c.h5ad", "umap", "k", "p", ("a",), ("loss",))
        ),
    ),
]

LEFT_OUT = ("evaluate", "days.csv", "--time-key", "day")
REQUESTS += [
    (LEFT_OUT, LeaveOutRequest()),
    (
        (
            *(*LEFT_OUT, "-o", "m.csv", "--seeds", "3", "--strict", "--by", "kind"),
            *("--max-points", "9", *INTEGRATED),
        ),
        LeaveOutRequest("m.csv", 3, True, "kind", 9, Integration("rk4:steps=5", 1e-3, 1e-4), True),
    ),
]


def test_each_method_of_a_list_is_a_recipe(cfm: Cfm, stub: Stub) -> None:
    """Alike but for the method, whose own parts come with it; several files make one course."""
    cfm(
        "evaluate",
        "a.csv",
        "b.csv",
        "c.csv",
        "--method",
        "icfm, sf2m",
        "--seed",
        "4",
        "--lr",
        "0.1",
    )
    ((recipes, _, runtime, _),) = stub.asked
    assert [r.method for r in recipes] == ["icfm", "sf2m"]
    assert [r.triple()[0] for r in recipes] == ["independent", "exact"]
    assert {(r.inputs, r.seed, r.lr) for r in recipes} == {(("a.csv", "b.csv", "c.csv"), 4, 0.1)}
    assert runtime.seed == 4


@pytest.mark.parametrize(
    ("arguments", "request_"), REQUESTS, ids=[f"{a[0]} {len(a)}" for a, _ in REQUESTS]
)
def test_options_make_the_request(
    arguments: tuple[str, ...], request_: Any, cfm: Cfm, stub: Stub
) -> None:
    """Each option lands in its own field of the request."""
    assert cfm(*arguments).code == 0
    asked = [item for item in stub.asked[0] if isinstance(item, type(request_))]
    assert asked == [request_]


def test_scores_are_a_table_on_stderr(cfm: Cfm, stub: Stub) -> None:
    """`cfm evaluate` shows its scores in columns, and the same in JSON."""
    scores = [
        {"from": 0.0, "to": 1.0, "metric": "w2", "value": 0.125, "floor": 0.25},
        {"from": 0.0, "to": 1.0, "metric": "npe", "value": math.nan, "floor": None},
    ]
    stub.behave = lambda listen: Outcome(figures={"solver": "dopri5", "scores": scores})
    ran = cfm(*EVALUATE)
    assert (ran.code, ran.out) == (0, "")
    table = [line.split() for line in ran.err.splitlines()]
    assert table == [
        ["solver:", "dopri5"],
        ["from", "to", "metric", "value", "floor"],
        ["0", "1", "w2", "0.125", "0.25"],
        ["0", "1", "npe", "nan"],
    ]
    told = json.loads(cfm(*EVALUATE, "--json").out)
    assert told["scores"] == [scores[0], scores[1] | {"value": None}]


def test_info_answers_on_stdout(cfm: Cfm, tmp_path: Path) -> None:
    """`cfm info` prints what a file holds, and the same as JSON."""
    data = tmp_path / "points.csv"
    data.write_text("id,x,y\na,1,2\nb,3,4\n")
    text = cfm("info", str(data))
    assert (text.code, text.err) == (0, "")
    assert "points: 2" in text.out.splitlines()
    figures = json.loads(cfm("info", str(data), "--json").out)
    assert figures["features"] == {"count": 2, "first": ["x", "y"]}


def test_info_of_a_folder_that_is_no_run(cfm: Cfm, tmp_path: Path) -> None:
    """A folder is taken for a run, and refused as one."""
    assert cfm("info", str(tmp_path)).code == 6


def test_list_names_everything(cfm: Cfm) -> None:
    """`cfm list` prints each family and each name; a name's card has options and a reference."""
    overview = cfm("list")
    assert {"couplings", "sinkhorn,", "dopri5,", "otcfm,"} <= set(overview.out.split())
    assert json.loads(cfm("list", "--json").out)["couplings"][0] == "independent"
    card = cfm("list", "methods", "otcfm")
    assert "Reference:" in card.out
    (figures,) = json.loads(cfm("list", "methods", "otcfm", "--json").out)["methods"]
    assert figures["name"] == "otcfm"
    assert figures["reference"] in " ".join(card.out.split())
