"""Shards and their merging: together they are one run, to the last bit."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from cfmcli.errors import ConfigError, DataError, OutputExistsError
from cfmcli.requests import (
    Condition,
    Integration,
    InterpolateRequest,
    LikelihoodRequest,
    MergeRequest,
    Runtime,
    SampleRequest,
    Scoring,
    Shard,
    TransportRequest,
    shard_of,
)
from cfmcli.workflows import shards
from cfmcli.workflows.fit import ignore
from cfmcli.workflows.interpolate import interpolate
from cfmcli.workflows.jobs import spread
from cfmcli.workflows.likelihood import likelihood
from cfmcli.workflows.merge import merge
from cfmcli.workflows.sample import sample
from cfmcli.workflows.transport import transport

HERE = Runtime(device="cpu", threads=1, seed=3)
NOISY = Integration("euler-maruyama:steps=3", sde="0.3")
QUICK = Integration("euler:steps=2")
VERBS: dict[type, Callable[..., Any]] = {
    SampleRequest: sample,
    TransportRequest: transport,
    LikelihoodRequest: likelihood,
    InterpolateRequest: interpolate,
}


@pytest.fixture(scope="module")
def noisy_run(tmp_path_factory: pytest.TempPathFactory, fit_run: Any) -> Path:
    """A run with a score and two classes."""
    folder = tmp_path_factory.mktemp("shards")
    for name, shift in (("a", 0.0), ("b", 2.0)):
        points(400, shift).to_csv(folder / f"{name}.csv", index=False)
    files = folder / "a.csv", folder / "b.csv"
    fit_run(folder / "run", *files, method="sf2m", label_key="kind")
    return folder / "run"


def points(n: int, shift: float = 0.0) -> pd.DataFrame:
    """A table whose annotations and ids are hard to cut: commas, quotes and line ends."""
    x = np.random.default_rng(n).normal(shift, size=(n, 2))
    ids = [f'c{k}, "{k}"' for k in range(n)]
    kind = np.where(x[:, 0] > shift, "up", "down\nwards")
    return pd.DataFrame({"id": ids, "x": x[:, 0], "y": x[:, 1], "kind": kind})


def whole_and_merged(request: Any, folder: Path, suffix: str, count: int = 3) -> tuple[Path, Path]:
    """The output of one run, and that of its shards, merged in another order."""
    work = VERBS[type(request)]
    one, both = folder / f"one{suffix}", folder / f"both{suffix}"
    work(replace(request, output=str(one)), HERE, ignore)
    parts = [str(folder / f"part{k}{suffix}") for k in range(1, count + 1)]
    for k, part in enumerate(parts, 1):
        work(replace(request, output=part, shard=Shard(k, count)), HERE, ignore)
    merge(MergeRequest(tuple(parts[::-1]), str(both)), HERE, ignore)
    return one, both


def content(path: Path) -> dict[str, Any]:
    """Everything an HDF5 file holds, by its place, with the notes on it."""
    found: dict[str, Any] = {}

    def note(name: str, node: Any) -> None:
        values = np.asarray(node).tolist() if isinstance(node, h5py.Dataset) else None
        found[name] = repr(values), {key: repr(value) for key, value in node.attrs.items()}

    with h5py.File(path) as file:
        file.visititems(note)
    return found


REQUESTS: dict[str, Any] = {
    "adaptive": TransportRequest("", "", ""),
    "stochastic": TransportRequest("", "", "", integration=NOISY),
    "backward under a class": TransportRequest(
        "", "", "", "1", "0", integration=QUICK, condition=Condition("up")
    ),
    "drawn": SampleRequest("", "", 500, integration=NOISY),
    "paced": TransportRequest("", "", "", integration=Integration("auto:tolerance=0.01")),
    "paced and rounded": SampleRequest(
        "", "", 500, integration=Integration("auto:tolerance=0.1", precision="bf16")
    ),
    "drawn classes": SampleRequest("", "", 500, "0.5", integration=QUICK),
    "probed": LikelihoodRequest("", "", "", scoring=Scoring(divergence="hutchinson:probes=2")),
    "weighed": LikelihoodRequest(
        "", "", "", scoring=Scoring(sde="0.2", estimator="sde:paths=3,steps=4")
    ),
    "paths": InterpolateRequest("", "", times=("0.5", "0", "1"), integration=NOISY),
    "populations": InterpolateRequest("", "", frames=3, population=True, integration=QUICK),
}


def asked(name: str, run: Path, data: Path) -> Any:
    """A request of the table, about a run and a file."""
    request = replace(REQUESTS[name], run=str(run))
    if isinstance(request, SampleRequest) or getattr(request, "population", False):
        return request
    return replace(request, data=str(data))


@pytest.mark.parametrize("name", REQUESTS)
def test_shards_merged_are_one_run_byte_for_byte(
    name: str, noisy_run: Path, tmp_path: Path
) -> None:
    points(410).to_csv(tmp_path / "data.csv", index=False)
    one, both = whole_and_merged(asked(name, noisy_run, tmp_path / "data.csv"), tmp_path, ".csv")
    assert both.read_bytes() == one.read_bytes()


@pytest.mark.parametrize("name", ["adaptive", "paced", "stochastic", "probed"])
def test_shards_of_many_blocks_are_one_run(name: str, noisy_run: Path, tmp_path: Path) -> None:
    """Where every shard has whole blocks of its own, and the last block is a broken one."""
    points(9001).to_csv(tmp_path / "data.csv", index=False)
    request = asked(name, noisy_run, tmp_path / "data.csv")
    if name == "probed":
        request = replace(request, integration=QUICK)
    one, both = whole_and_merged(request, tmp_path, ".csv", 2)
    assert both.read_bytes() == one.read_bytes()


def test_shards_of_densities_of_what_grows_are_one_run(tmp_path: Path, fit_run: Any) -> None:
    """In so many dimensions that paths are computed in smaller blocks than those of points."""
    x = np.random.default_rng(0).normal(size=(2200, 20))
    for name, table in (("a", x[:150]), ("b", x[:300] + 1), ("data", x + 1)):
        pd.DataFrame(table).add_prefix("f").to_csv(tmp_path / f"{name}.csv", index=False)
    files, run = (tmp_path / "a.csv", tmp_path / "b.csv"), tmp_path / "run"
    fit_run(run, *files, method="wfrfm", steps=60)
    own = LikelihoodRequest(str(run), str(tmp_path / "data.csv"), "")
    request = replace(own, scoring=Scoring(base="gaussian"))
    one, both = whole_and_merged(request, tmp_path, ".csv", 2)
    assert both.read_bytes() == one.read_bytes()


@pytest.mark.parametrize("suffix", [".csv.gz", ".tsv", ".npy", ".npz", ".parquet", ".h5ad"])
@pytest.mark.parametrize("name", ["backward under a class", "paths"])
@pytest.mark.filterwarnings("ignore:.*npy holds numbers only")
def test_every_format_is_merged(suffix: str, name: str, noisy_run: Path, tmp_path: Path) -> None:
    points(50).to_csv(tmp_path / "data.csv", index=False)
    request = asked(name, noisy_run, tmp_path / "data.csv")
    one, both = whole_and_merged(request, tmp_path, suffix)
    if suffix == ".parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(both), pd.read_parquet(one))
    elif suffix == ".h5ad":
        assert content(both) == content(one)
    else:
        assert both.read_bytes() == one.read_bytes()


@pytest.mark.parametrize("verb", [TransportRequest, LikelihoodRequest])
@pytest.mark.filterwarnings("ignore:.*other times")
def test_an_anndata_keeps_all_it_holds(verb: Any, tmp_path: Path, fit_run: Any) -> None:
    """What concatenation on disk would drop: uns, varm, graphs between cells, raw."""
    n, rng = 300, np.random.default_rng(0)
    data = ad.AnnData(sparse.random(n, 9, 0.5, "csr", random_state=0))
    data.obs["day"] = pd.Categorical(rng.choice(["d0", "d1"], n))
    data.obs["note"] = ["seen" if seen else None for seen in rng.random(n) > 0.5]
    data.uns["colors"] = np.array(["red", "blue"])
    data.varm["loading"] = rng.normal(size=(9, 2))
    data.obsp["near"] = sparse.eye(n, format="csr")
    data.layers["counts"] = data.X.copy()
    data.raw = data.copy()
    source = tmp_path / "cells.h5ad"
    data.write_h5ad(source)
    fit_run(tmp_path / "run", source, time_key="day", transform="pca:n=2,standardize")
    one, both = whole_and_merged(verb(str(tmp_path / "run"), str(source), ""), tmp_path, ".h5ad")
    merged = ad.read_h5ad(both)
    assert content(both) == content(one)
    assert {"colors", "cfm"} <= set(merged.uns)
    assert "near" in merged.obsp
    assert merged.raw is not None
    alone = ad.read_h5ad(tmp_path / "part2.h5ad")
    assert list(alone.obs_names) == list(data.obs_names[100:200])
    moved = source.rename(tmp_path / "elsewhere.h5ad")
    parts = tuple(str(tmp_path / f"part{k}.h5ad") for k in (1, 2, 3))
    with pytest.raises(DataError, match=r"--data"):
        merge(MergeRequest(parts, str(tmp_path / "again.h5ad")), HERE, ignore)
    merge(MergeRequest(parts, str(tmp_path / "again.h5ad"), str(moved)), HERE, ignore)
    assert content(tmp_path / "again.h5ad") == content(both)
    with pytest.raises(DataError, match="not the AnnData"):
        merge(MergeRequest(parts, str(tmp_path / "no.h5ad"), str(one)), HERE, ignore)


@pytest.mark.filterwarnings("ignore:.*other times")
def test_genes_in_another_order_get_their_own_values(tmp_path: Path, fit_run: Any) -> None:
    """Layers and loadings stand in the order of the file moved, not of the file fitted."""
    data = ad.AnnData(np.random.default_rng(0).exponential(size=(60, 5)))
    data.obs["day"] = pd.Categorical(["d0", "d1"] * 30)
    data.write_h5ad(tmp_path / "cells.h5ad")
    data[:, ::-1].copy().write_h5ad(tmp_path / "turned.h5ad")
    fit_run(tmp_path / "run", tmp_path / "cells.h5ad", time_key="day", transform="pca:n=2")
    found = {}
    for name in ("cells", "turned"):
        (folder := tmp_path / name).mkdir()
        request = TransportRequest(str(tmp_path / "run"), str(tmp_path / f"{name}.h5ad"), "")
        one, both = whole_and_merged(replace(request, integration=QUICK), folder, ".h5ad", 2)
        assert content(both) == content(one)
        assert list(ad.read_h5ad(folder / "part1.h5ad").var_names) == list(
            ad.read_h5ad(one).var_names
        )
        found[name] = ad.read_h5ad(one)
    cells, turned = found["cells"], found["turned"][:, data.var_names]
    assert np.ptp(cells.layers["cfm"], axis=1).min() > 0
    for key in ("cfm", "velocity"):
        np.testing.assert_allclose(turned.layers[key], cells.layers[key], rtol=1e-9)
    np.testing.assert_allclose(turned.varm["PCs"], cells.varm["PCs"])


def test_merging_refuses_what_is_no_whole(toy_run: Path, samples: Path, tmp_path: Path) -> None:
    request = TransportRequest(str(toy_run), str(samples / "source.csv"), "", integration=QUICK)

    def cut(name: str, shard: str, seed: int = 3, **more: Any) -> str:
        part, path = Shard(*map(int, shard.split("/"))), str(tmp_path / name)
        changed = replace(request, output=path, shard=part, **more)
        transport(changed, replace(HERE, seed=seed), ignore)
        return path

    def put(*parts: str) -> Any:
        return merge(MergeRequest(parts, str(tmp_path / "out.csv")), HERE, ignore)

    one, two, three = (cut(f"{k}.csv", f"{k}/3") for k in (1, 2, 3))
    with pytest.raises(DataError, match=r"1 of 3 shards are missing: 2/3") as missing:
        put(one, three)
    assert missing.value.exit_code == 3
    with pytest.raises(DataError, match=r"both shard 2/3.*overlap"):
        put(one, two, three, cut("twice.csv", "2/3"))
    with pytest.raises(DataError, match="differ in shards"):
        put(one, two, cut("other.csv", "2/2"))
    with pytest.raises(DataError, match="differ in seed"):
        put(one, two, cut("seed.csv", "3/3", seed=4))
    with pytest.raises(DataError, match="differ in end"):
        put(one, two, cut("end.csv", "3/3", end="0.5"))
    with pytest.raises(DataError, match="differ in inputs"):
        put(one, two, cut("data.csv", "3/3", data=str(samples / "target.csv")))
    with pytest.raises(DataError, match="no shard"):
        put(one, two, str(samples / "target.csv"))
    with pytest.raises(ConfigError, match="same suffix"):
        merge(MergeRequest((one, two, three), str(tmp_path / "out.npy")), HERE, ignore)
    packed = tuple(cut(f"{k}.csv.gz", f"{k}/3") for k in (1, 2, 3))
    with pytest.raises(ConfigError, match=r"\.csv\.gz, \.tsv\.gz"):
        merge(MergeRequest(packed, str(tmp_path / "out.tsv.gz")), HERE, ignore)
    lines = Path(two).read_text().splitlines(keepends=True)
    Path(two).write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match=r"2.csv: has \d+ rows where \d+ were written"):
        put(one, two, three)
    assert not (tmp_path / "out.csv").exists()
    Path(two).write_text("".join(lines))
    outcome = put(one, two, three)
    assert outcome.figures["points"] == len(pd.read_csv(samples / "source.csv"))
    with pytest.raises(OutputExistsError):
        put(one, two, three)


def test_merging_refuses_the_shards_of_another_model(
    toy_run: Path, samples: Path, tmp_path: Path, fit_run: Any
) -> None:
    fit_run(tmp_path / "run", samples / "source.csv", samples / "target.csv", seed=1)
    parts = []
    for k, run in enumerate((toy_run, tmp_path / "run"), 1):
        parts.append(str(tmp_path / f"{k}.npy"))
        request = SampleRequest(str(run), parts[-1], 9, integration=QUICK, shard=Shard(k, 2))
        with pytest.warns(UserWarning, match="npy"):
            sample(request, HERE, ignore)
    with pytest.raises(DataError, match="differ in model"):
        merge(MergeRequest(tuple(parts), str(tmp_path / "out.npy")), HERE, ignore)


def test_means_of_the_parts_are_those_of_the_whole(toy_run: Path, tmp_path: Path) -> None:
    points(50).drop(columns="kind").to_csv(tmp_path / "data.csv", index=False)
    request = LikelihoodRequest(str(toy_run), str(tmp_path / "data.csv"), str(tmp_path / "1.csv"))
    whole = likelihood(request, HERE, ignore).figures
    parts = []
    for k in (1, 2, 3, 4):
        parts.append(str(tmp_path / f"part{k}.csv"))
        likelihood(replace(request, output=parts[-1], shard=Shard(k, 4)), HERE, ignore)
    found = merge(MergeRequest(tuple(parts), str(tmp_path / "2.csv")), HERE, ignore).figures
    for name in ("mean_log_prob", "bits_per_dim", "points", "nfe", "base"):
        expected = whole[name] if isinstance(whole[name], str) else pytest.approx(whole[name])
        assert found[name] == expected


def test_jobs_give_the_table_of_one_process(toy_run: Path, tmp_path: Path) -> None:
    points(50).drop(columns="kind").to_csv(tmp_path / "data.csv", index=False)
    request = TransportRequest(str(toy_run), str(tmp_path / "data.csv"), str(tmp_path / "one.csv"))
    alone = spread(transport, request, HERE, ignore, 1).figures
    request = replace(request, output=str(tmp_path / "two.csv"))
    figures = spread(transport, request, HERE, ignore, 2).figures
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert figures["mean_cost"] == pytest.approx(alone["mean_cost"])
    assert figures["jobs"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"data.csv", "one.csv", "two.csv"}
    with pytest.raises(OutputExistsError):
        spread(transport, request, HERE, ignore, 2)


@given(st.integers(1, 30_000), st.integers(1, 12), st.sampled_from([1, 256, 4096]))
def test_shards_cover_all_rows_once(total: int, count: int, grain: int) -> None:
    if count > total:
        with pytest.raises(ConfigError, match=f"only {total} points"):
            shards.part(Shard(1, count), total, grain)
        return
    parts = [shards.part(Shard(k, count), total, grain) for k in range(1, count + 1)]
    assert (parts[0].start, parts[-1].stop) == (0, total)
    assert all(one.stop == other.start for one, other in pairwise(parts))
    for part in parts:
        assert len(part) > 0
        assert part.rows.start % grain == 0
        assert part.rows.stop % grain == 0 or part.rows.stop == total
        assert (part.rows.start + part.kept.start, part.rows.start + part.kept.stop) == (
            part.start,
            part.stop,
        )
    if total >= grain * count:
        assert all(part.rows == part.own for part in parts), "no row is computed twice"


ARRAY = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "5"}


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("", ARRAY, None),
        ("2/4", ARRAY, Shard(2, 4)),
        ("auto", ARRAY, Shard(5, 5)),
        ("auto", {**ARRAY, "SLURM_ARRAY_TASK_STEP": "2"}, Shard(3, 5)),
        ("auto", {"RANK": "0", "WORLD_SIZE": "2"}, Shard(1, 2)),
    ],
)
def test_where_a_shard_comes_from(
    text: str, environment: dict[str, str], expected: Shard | None
) -> None:
    assert shard_of(text, environment) == expected


@pytest.mark.parametrize("text", ["auto", "0/4", "5/4", "2", "a/b", "1/0"])
def test_no_such_shard(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--shard {text}: expected I/N"):
        shard_of(text, {})


def test_what_shards_cannot_do(toy_run: Path, samples: Path, tmp_path: Path) -> None:
    data = str(samples / "source.csv")
    request = TransportRequest(str(toy_run), data, str(tmp_path / "o.csv"), shard=Shard(1, 2))
    for changed, why in (
        (replace(request, against=data), "--against"),
        (replace(request, output="-"), "-o -"),
        (replace(request, data="-"), "--shard 1/2 of stdin"),
    ):
        with pytest.raises(ConfigError, match=why):
            transport(changed, HERE, ignore)
    with pytest.raises(ConfigError, match="exclude each other"):
        spread(transport, request, HERE, ignore, 2)
    with pytest.raises(ConfigError, match="name files"):
        spread(transport, replace(request, data="-", shard=None), HERE, ignore, 2)
    follow = InterpolateRequest(str(toy_run), request.output, data, frames=2, cells="-")
    with pytest.raises(ConfigError, match="name files"):
        spread(interpolate, follow, HERE, ignore, 2)
    transport(replace(request, integration=QUICK), HERE, ignore)
    side = json.loads((tmp_path / "o.csv.shard.json").read_text())
    assert side["shard"] == [1, 2]
    (tmp_path / "o.csv").unlink()
    with pytest.raises(OutputExistsError, match=r"shard\.json"):
        transport(replace(request, integration=QUICK), HERE, ignore)


UNGUARDED = """
from cfmcli.requests import Runtime, TransportRequest
from cfmcli.workflows.jobs import spread
from cfmcli.workflows.transport import transport
request = TransportRequest({run!r}, {data!r}, {output!r})
"""
CALL = "spread(transport, request, Runtime(threads=1), print, 2)"


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(toy_run: Path, samples: Path, tmp_path: Path) -> None:
    """The cause is the script, not the memory; it is told once, and nothing is left behind."""
    names = {"run": toy_run, "data": samples / "source.csv", "output": tmp_path / "o.csv"}
    head = UNGUARDED.format(**{name: str(path) for name, path in names.items()})
    script = tmp_path / "script.py"
    script.write_text(head + CALL)
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ran.stderr.count('if __name__ == "__main__":') == 1
    assert "ConfigError: --jobs 2 begins fresh processes" in ran.stderr
    assert "memory" not in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]
