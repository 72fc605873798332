"""Bad input of every kind: the right exit code, one message, and nothing written or changed."""

import errno
import io
import json
import math
import os
import shlex
import shutil
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from cfmcli.flows.training.trainer import Trainer
from tests.cli.harness import Cfm
from tests.cli.room import carry_out, interrupted, listing
from tests.limits import file_limit

TINY = "--steps 3 --batch-size 8 --field mlp:width=4,depth=1"
LONG = "--steps 500 --batch-size 8 --field mlp:width=4,depth=1"

# Files that no command may accept as points: name -> content, words of the message.
SPOILT: dict[str, tuple[str, str]] = {
    "nan.csv": ("x,y\n1,2\n3,nan\n5,6\n", "nan.csv|line 3|'y'|NaN|--drop y"),
    "gap.csv": ("x,y\n1,2\n3,\n5,6\n", "gap.csv|line 3|'y'|missing"),
    "inf.csv": ("x,y\n1,2\n3,inf\n5,6\n", "inf.csv|line 3|'y'|infinite"),
    "text.csv": ("x,y\n1,2\n3,oops\n5,6\n", "text.csv|line 3|'y'|'oops'|expected a number"),
    "short.csv": ("x,y\n1,2\n3\n5,6\n", "short.csv|line 3|1 fields|expected 2"),
    "long.csv": ("x,y\n1,2\n3,4,5\n5,6\n", "long.csv|line 3|3 fields|expected 2"),
    "empty.csv": ("", "empty.csv|empty"),
    "header.csv": ("x,y\n", "header.csv|no points"),
    "double.csv": ("x,x\n1,2\n3,4\n", "double.csv|'x'|more than once"),
    "fake.h5ad": ("x,y\n1,2\n", "fake.h5ad|no AnnData file"),
    "fake.parquet": ("x,y\n1,2\n", "fake.parquet|no Parquet file"),
    "fake.csv.gz": ("x,y\n1,2\n", "fake.csv.gz|gzip"),
}
READERS = {
    "fit": "fit {} b.csv -o new",
    "fit second": "fit a.csv {} -o new",
    "transport": "transport run {} -o out.csv",
    "against": "transport run a.csv --against {} -o out.csv",
    "likelihood": "likelihood run {} -o out.csv",
    "interpolate": "interpolate run {} --frames 2 -o out.csv",
    "fate": "fate run {} --label-key arm -o out.csv",
    "genes": "genes run {} -o out.csv",
    "evaluate": "evaluate run --against {} -o out.csv",
}

# Other text files: name -> content.
TEXTS = {
    "once.csv": "day,x,y\n0,1,2\n0,3,4\n0,5,6\n",
    "single.csv": "x,y\n1,2\n",
    "lonely.csv": "day,x,y\n0,1,2\n0,3,4\n1,5,6\n",
    "untimed.csv": "day,x,y\n0,1,2\n,3,4\n1,5,6\n1,7,8\n0,7,8\n",
    "clocked.csv": "time,x\n0,1\n0,3\n1,5\n1,7\n",
    "truth.csv": "late,x,y\nTrue,1,2\nFalse,3,4\nTrue,5,6\nFalse,7,8\n",
    "moot.csv": "day,x,y\nearly,1,2\nearly,3,4\nlate,5,6\nlate,7,8\n",
    "twice.csv": "name,x,y\np,1,2\nq,3,4\np,5,6\n",
    "wide.csv": "x,y,z\n1,2,3\n3,4,5\n",
    "narrow.csv": "x\n1\n2\n3\n",
    "minus.csv": "x,y\n-2,1\n3,4\n5,6\n",
    "heavy.csv": "w,x,y\n-1,1,2\n1,3,4\n",
    "words.csv": "w,x,y\nheavy,1,2\nlight,3,4\n",
    "huge.csv": "x,y\n1e30,2e30\n-3e30,4e30\n5e30,6e30\n",
    "bad.toml": "steps = = 3\n",
    "key.toml": "stepz = 3\n",
    "section.toml": "[trainin]\nsteps = 3\n",
    "type.toml": 'steps = "three"\n',
    "range.toml": "steps = -3\n",
    "blank.csv": "x,y,kind\n1,2,p\n3,4,\n5,6,q\n7,8,q\n",
    "gaps.csv": "x,y,kind,dose\n1,2,p,1\n3,4,p,2\n5,6,q,\n7,8,q,3\n",
    "other.csv": "x,y,kind,dose\n1,2,p,1\n3,4,pp,2\n",
    "ids.txt": "c0_1\nnobody\n",
    "none.txt": "",
    "notes.xlsx": "x",
    "bare": "x,y\n1,2\n",
}

# what is wrong -> the command, its exit code, words of the message
ROWS: dict[str, tuple[str, int, str]] = {
    "no time column": ("fit days.csv --time-key dya -o new", 3, "'dya'|Did you mean 'day'"),
    "no label column": ("fit a.csv b.csv --label-key branch -o new", 3, "'branch'|'x', 'y'"),
    "no covariate column": ("fit days.csv --time-key day --covariates wt -o new", 3, "'wt'"),
    "covariate in words": (
        "fit days.csv --time-key day --covariates branch -o new", 3, "'branch'|--label-key"),
    "constant covariate": (
        "fit days.csv --time-key day --covariates weight -o new", 3, "'weight' is 1 everywhere"),
    "covariate twice": (
        "fit days.csv --time-key day --label-key branch --covariates branch -o new", 2, "twice"),
    "no weight column": ("fit days.csv --time-key day --weight-key wt -o new", 3, "'wt'|'weight'"),
    "ids as times": ("fit days.csv --time-key cell -o new", 3, "'cell' holds the ids|--id-key"),
    "ids as labels": (
        "fit days.csv --time-key day --label-key cell -o new", 3, "'cell' holds the ids|--id-key"),
    "ids as weights": (
        "fit days.csv --time-key day --weight-key cell -o new", 3, "'cell' holds the ids"),
    "ids as covariate": (
        "fit days.csv --time-key day --covariates cell -o new", 3, "'cell' holds the ids"),
    "ids to score by": ("evaluate days.csv --time-key day --by cell", 3, "'cell' holds the ids"),
    "ids as fates": ("fate days days.csv --label-key cell -o out.csv", 3, "holds the ids"),
    "true or false as times": (
        "fit truth.csv --time-key late -o new", 3, "truth.csv|'late' holds true and false"),
    "time key in other words": (
        "fit clocked.csv --time-key tine -o new", 3, "clocked.csv|'tine'|Did you mean 'time'"),
    "no time key": ("fit clocked.csv clocked.csv -o new", 3, "'time'|--time-key time"),
    "no id column": ("fit days.csv --time-key day --id-key sell -o new", 3, "mean 'cell'"),
    "no time in obs": ("fit cells.h5ad --time-key dya -o new", 3, "'dya'|mean 'day'"),
    "no feature": ("fit a.csv b.csv --features z -o new", 3, "'z'|'x', 'y'"),
    "text as feature": ("fit days.csv --time-key day --features branch -o new", 3, "'branch'"),
    "all dropped": ("fit a.csv b.csv --drop x,y -o new", 3, "no numeric column|--drop"),
    "other features": ("fit a.csv wide.csv -o new", 3, "wide.csv|a.csv|z|--features"),
    "fewer features": ("fit a.csv narrow.csv -o new", 3, "narrow.csv|a.csv|y"),
    "transport lacks one": ("transport run narrow.csv -o out.csv", 3, "narrow.csv|'y'"),
    "likelihood lacks one": ("likelihood run narrow.csv -o out.csv", 3, "narrow.csv|'y'"),
    "start lacks one": ("interpolate run narrow.csv --frames 2 -o out.csv", 3, "narrow.csv|'y'"),
    "transport dimension": ("transport run three.npy -o out.csv", 3, "3 columns|expects 2"),
    "likelihood dimension": ("likelihood run three.npy -o out.csv", 3, "3 columns|expects 2"),
    "pickled array": ("transport run pickled.npz -o out.csv", 3, "pickled.npz|allow_pickle"),
    "repeated ids": ("fit twice.csv b.csv --id-key name -o new", 3, "'p'|line 4|--id-key"),
    # times
    "one time": ("fit once.csv --time-key day -o new", 3, "1 time point|at least 2"),
    "one file": ("fit a.csv -o new", 3, "one cloud|--time-key|--source gaussian"),
    "one point at a time": (
        "fit lonely.csv --time-key day -o new",
        3,
        "lonely.csv|Time 1 in 'day' has 1 point|--where \"day != 1\"",
    ),
    "one point in a file": ("fit a.csv single.csv -o new", 3, "single.csv|1 point(s)|leave that"),
    "no such column to choose by": (
        "fit days.csv --time-key day --where 'dya > 1' -o new", 2, "--where|'dya'|day, branch"),
    "nothing chosen": (
        "fit days.csv --time-key day --where \"branch == 'z'\" -o new", 3, "no point is left"),
    "nothing chosen of a file": (
        "fit days.csv moot.csv --features x,y --where \"day == 'd0'\" -o new", 3, "0 point(s)"),
    "point without time": ("fit untimed.csv --time-key day -o new", 3, "point 1|no time in 'day'"),
    "ambiguous labels": ("fit moot.csv --time-key day -o new", 3, "early, late|--time-map"),
    "map of unknown": (
        "fit days.csv --time-key day --time-map d0=0,d1=1,d2=2,d9=9 -o new", 2, "'d9'|d0, d1, d2"),
    "map lacks one": ("fit days.csv --time-key day --time-map d0=0,d1=1 -o new", 2, "d2"),
    "map with equals": (
        "fit days.csv --time-key day --time-map d0=0,d1=1,d2=1 -o new", 2, "same time"),
    "map names one twice": (
        "fit days.csv --time-key day --time-map d0=0,d0=1,d1=2,d2=3 -o new", 2, "'d0' twice"),
    "map without time": ("fit days.csv --time-key day --time-map d0=0,d1 -o new", 2, "'d1'|d2=2"),
    "map without key": ("fit a.csv b.csv --time-map a=0,b=1 -o new", 2, "need --time-key"),
    "order lacks one": ("fit days.csv --time-key day --time-order d0,d1 -o new", 2, "d2"),
    "order names one twice": (
        "fit days.csv --time-key day --time-order d0,d1,d1,d2 -o new", 2, "a label twice"),
    "order and map": (
        "fit days.csv --time-key day --time-order d0,d1,d2 --time-map d0=1 -o new", 2, "one of"),
    "times descend": ("fit a.csv b.csv --times 3,1 -o new", 2, "3, 1|ascending"),
    "times equal": ("fit a.csv b.csv --times 1,1 -o new", 2, "ascending"),
    "times too many": ("fit a.csv b.csv --times 1,2,3 -o new", 2, "3 times for 2 files"),
    "times not finite": ("fit a.csv b.csv --times 1,nan -o new", 2, "--times|finite"),
    "times are words": ("fit a.csv b.csv --times 1,two -o new", 2, "1,two|numbers"),
    "times with key": ("fit days.csv --time-key day --times 0,1,2 -o new", 2, "--time-map"),
    "holdout unknown": ("fit days.csv --time-key day --holdout d7 -o new", 2, "d7|d0, d1, d2"),
    "holdout first": ("fit days.csv --time-key day --holdout d0 -o new", 2, "the first or|d1"),
    "holdout last": ("fit days.csv --time-key day --holdout 2 -o new", 2, "the last|d1"),
    "time unknown": ("transport run a.csv --from late -o out.csv", 2, "'late'|Known: 0, 1"),
    "time outside": ("transport run a.csv --to 9 -o out.csv", 2, "Time 9|0 to 1"),
    "time nan": ("transport run a.csv --to nan -o out.csv", 2, "nan|0 to 1"),
    "sample unknown": ("sample run --time d5 -o out.csv", 2, "'d5'|Known"),
    "sample outside": ("sample run --time 1e9 -o out.csv", 2, "1e+09|0 to 1"),
    "likelihood unknown": ("likelihood run a.csv --time x -o out.csv", 2, "'x'|Known"),
    "likelihood outside": ("likelihood run a.csv --time -1 -o out.csv", 2, "Time -1|0 to 1"),
    "interpolate unknown": ("interpolate run --times noon -o out.csv", 2, "'noon'|Known"),
    "interpolate outside": ("interpolate run --times 0.5,9 -o out.csv", 2, "Time 9|0 to 1"),
    "interpolate from": ("interpolate run --times 0.5 --from 7 -o out.csv", 2, "Time 7|0 to 1"),
    "a time twice": ("interpolate days --times d1,1 -o out.csv", 2, "d1,1|twice"),
    "from where no cloud is": (
        "interpolate run --times 1 --from 0.5 -o out.csv", 2, "--from 0.5|DATA|0, 1"),
    "no score": ("sample run --sde 0.5 -o out.csv", 2, "no score|--method sf2m"),
    "no score to carry": ("transport run a.csv --sde 0.5 -o out.csv", 2, "no score"),
    "no score to judge": ("likelihood run a.csv --sde 0.5 -o out.csv", 2, "score"),
    "negative noise": ("sample run --sde -1 -o out.csv", 2, "level=-1|at least 0"),
    "unknown noise": ("sample run --sde brigde -o out.csv", 2, "'brigde'|bridge"),
    "noisy solver alone": (
        "sample run --solver euler-maruyama -o out.csv", 2, "euler-maruyama|stochastic|dopri5",
    ),
    "quiet solver": (
        "sample run --sde 0.5 --solver dopri5 -o out.csv", 2, "dopri5|deterministic",
    ),
    "steps and tolerance": (
        "sample run --solver auto --atol 1e-3 -o out.csv", 2, "auto:tolerance=1e-2|--atol",
    ),
    "chosen steps of densities": (
        "likelihood run a.csv --solver auto -o out.csv", 2,
        "not for densities|dopri5",
    ),
    "tolerance of auto": (
        "transport run a.csv --solver auto:tolerance=0 -o out.csv", 2, "tolerance=0|positive",
    ),
    "rounded and adaptive": (
        "transport run a.csv --precision bf16 -o out.csv", 2, "dopri5|--solver auto",
    ),
    "rounded noise": (
        "sample run --sde 0.5 --precision bf16 -o out.csv", 2, "--precision bf16|--sde",
    ),
    "precision of transport": (
        "transport run a.csv --precision f64 -o out.csv", 2, "'f64'|bf16",
    ),
    "noise and tolerance": ("sample run --sde 0.5 --atol 1e-3 -o out.csv", 2, "--atol|fixed steps"),
    "estimator alone": ("likelihood run a.csv --estimator sde -o out.csv", 2, "--sde 0.5"),
    "estimator of flows": (
        "likelihood run a.csv --estimator ode --sde 0.5 -o out.csv", 2, "--estimator sde",
    ),
    "noisy estimate and solver": (
        "likelihood run a.csv --sde 0.5 --solver rk4 -o out.csv", 2, "--estimator sde:steps",
    ),
    "known nowhere": ("likelihood run a.csv --known middle -o out.csv", 2, "source or target"),
    "rectify nothing": ("fit a.csv b.csv --method rf -o new", 2, "--from-run RUN"),
    "rectify what is not": ("fit --method rf --from-run nowhere -o new", 6, "no run nowhere"),
    "rectify files": ("fit c.csv b.csv --method rf --from-run run -o new", 2, "leave DATA out"),
    "rectify transform": (
        "fit --method rf --from-run run --transform none -o new", 2, "--transform|standardize",
    ),
    "rectify by transport": (
        "fit --from-run run --coupling exact -o new", 2, "--method rf",
    ),
    "two clouds to mirror": (
        "fit a.csv b.csv --method icfm --interpolant mirror -o new", 2, "same file twice",
    ),
    "no noise to learn": (
        "fit a.csv b.csv --objective velocity+denoiser -o new", 2, "latent|gamma=sqrt",
    ),
    "denoise data": (
        "fit a.csv b.csv --method si --objective denoiser -o new", 2, "--source gaussian",
    ),
    "pairs of unequal files": (
        "fit a.csv moot.csv --features x,y --coupling paired -o new", 2, "paired",
    ),
    "static and random": ("fit a.csv --source gaussian --method static-ot -o new", 2, "static-ot"),
    "evaluate unknown": ("evaluate run --time noon", 2, "'noon'|Known"),
    "evaluate outside": ("evaluate run --time 9 --against b.csv", 2, "Time 9|0 to 1"),
    "evaluate the start": ("evaluate days --time d0", 2, "--time d0|start there|up to 2"),
    "evaluate between": ("evaluate days --time 0.5", 2, "--time 0.5|--against DATA|d1, d2"),
    # files
    "suffix in": ("transport run notes.xlsx -o out.csv", 2, ".xlsx|.h5ad|.parquet"),
    "no suffix in": ("transport run bare -o out.csv", 2, "no suffix|.csv"),
    "suffix out": ("transport run a.csv -o out.xlsx", 2, ".xlsx|.h5ad"),
    "no suffix out": ("sample run -o out", 2, "(none)|.csv"),
    "missing file": ("fit a.csv bb.csv -o new", 3, "bb.csv|no such file|Did you mean 'b.csv'"),
    "missing data": ("transport run bb.csv -o out.csv", 3, "bb.csv|no such file"),
    "missing info without suffix": ("info nowhere", 3, "nowhere|no such file"),
    "objects": ("info objects.npy", 3, "objects.npy|holds objects"),
    "vast": ("fit vast.csv vast.csv -o new", 3, "x, y|too large|rescale"),
    "nothing between": ("fit a.csv b.csv --holdout 0 -o new", 2, "three times or more"),
    "missing ids": (
        "interpolate run --frames 3 --cells no.txt -o out.csv", 3, "no.txt|No such file"),
    "missing info": ("info bb.csv", 3, "bb.csv|no such file"),
    "folder as file": ("transport run folder.csv -o out.csv", 3, "folder.csv|folder"),
    "folder as output": ("sample run -o folder.csv --force", 2, "folder.csv|folder"),
    "truncated h5ad": ("fit cut.h5ad --time-key day -o new", 3, "cut.h5ad|truncated"),
    "truncated h5ad moved": ("transport cells cut.h5ad -o out.h5ad", 3, "cut.h5ad|truncated"),
    "hdf5 but no h5ad": ("fit plain.h5ad --time-key day -o new", 3, "no obs and var"),
    "nan in h5ad": ("fit nan.h5ad --time-key day -o new", 3, "row 4|'c3'|'g2'"),
    "no obsm key": ("fit cells.h5ad --time-key day --use-rep X_umap -o new", 3, "'X_umap'|'X_pca'"),
    "no layer": ("fit cells.h5ad --time-key day --layer raw -o new", 3, "'raw'|'counts'"),
    "layer and rep": (
        "fit cells.h5ad --time-key day --layer counts --use-rep X_pca -o new", 2, "exclude"),
    "rep of a csv": ("fit a.csv b.csv --use-rep X_pca -o new", 3, "--use-rep X_pca|AnnData"),
    "layer of a csv": ("fit a.csv b.csv --layer raw -o new", 3, "--layer raw|AnnData"),
    "empty stdin": ("transport run - -o out.csv", 3, "stdin|empty"),
    "empty stdin to stdout": ("likelihood run - -o -", 3, "stdin|empty"),
    "empty stdin to fit": ("fit - b.csv -o new", 3, "stdin|empty"),
    "empty stdin to info": ("info -", 3, "stdin|empty"),
    # checkpoints
    "other format": ("sample future -o out.csv", 6, "format 99|reads 2"),
    "other format told": ("info future", 6, "format 99"),
    "no run": ("sample nowhere -o out.csv", 6, "no run nowhere|cfm fit"),
    "run without model": ("sample empty -o out.csv", 6, "empty|model.safetensors"),
    "info without model": ("info empty", 6, "empty|model.safetensors"),
    "file as run": ("sample a.csv -o out.csv", 6, "a.csv|no run"),
    "one cloud to evaluate": ("evaluate a.csv", 3, "a.csv|one cloud|--time-key"),
    "two clouds to evaluate": ("evaluate a.csv b.csv", 3, "a.csv|2 times|at least 3"),
    "empty stdin to evaluate": ("evaluate - -o out.csv", 3, "stdin|empty"),
    "fit options for a run": ("evaluate run --steps 9 --strict", 2, "--steps, --strict|a run"),
    "run options for data": ("evaluate days.csv --against b.csv", 2, "--against|data"),
    "generator to evaluate": ("evaluate a.csv --source gaussian", 2, "--source|evaluate RUN"),
    "fates of no column": ("fate run a.csv --label-key '' -o out.csv", 2, "--label-key is empty"),
    "no label to score by": ("evaluate days.csv --time-key day --by brnch", 3, "'brnch'|'branch'"),
    "unknown method in list": (
        "evaluate days.csv --time-key day --method otcfm,icfn", 2, "'icfn'|'icfm'"),
    "edge left out": ("evaluate days.csv --time-key day --holdout d0", 2, "first or|d1"),
    "data are scores": (
        "evaluate days.csv --time-key day -o days.csv --force", 2, "same file"),
    "nothing to evaluate": ("evaluate nowhere", 6, "no run nowhere|cfm fit"),
    "evaluate unfinished": ("evaluate half -o out.csv", 6, "half|not finished|--resume"),
    "unfinished run": ("sample half -o out.csv", 6, "half|not finished|--resume"),
    "resumed otherwise": (f"fit a.csv b.csv -o half --resume {TINY}", 6, "steps (500 there, 3"),
    "resumed with other points": (
        f"fit c.csv b.csv -o changed --resume {LONG}", 6, "content of the inputs"),
    "resumed from ruins": (f"fit a.csv b.csv -o ruin --resume {LONG}", 6, "ruin|damaged"),
    "finished otherwise": (f"fit a.csv b.csv -o run --resume {LONG}", 6, "finished|steps (3"),
    # outputs
    "file exists": ("sample run -o b.csv", 5, "b.csv|exists|--force"),
    "run exists": (f"fit a.csv b.csv -o run {TINY}", 5, "run|--force"),
    "unfinished exists": (f"fit a.csv b.csv -o half {LONG}", 5, "half|--resume|--force"),
    "output is input": ("transport run a.csv -o a.csv", 2, "a.csv|same file"),
    "force or not": ("transport run a.csv -o a.csv --force", 2, "a.csv|same file"),
    "output is input by link": ("transport run a.csv -o link.csv --force", 2, "same file"),
    "output is reference": ("transport run a.csv --against b.csv -o b.csv --force", 2, "same"),
    "scores exist": ("evaluate run -o b.csv", 5, "b.csv|exists|--force"),
    "scores are reference": ("evaluate run --against b.csv -o b.csv --force", 2, "same file"),
    "scores as cells": ("evaluate run -o out.h5ad", 2, ".h5ad|.parquet"),
    "scores without name": ("evaluate run -o ''", 2, "-o is empty"),
    "scores twice on stdout": ("evaluate run --json -o -", 2, "--json|stdout"),
    "output is start": ("interpolate run a.csv --frames 2 -o ./a.csv --force", 2, "same file"),
    "output is cells": (
        "interpolate days --frames 2 --cells ids.txt -o ids.txt --force", 2, "same file"),
    "output in the run is input": (
        "fit own/losses.csv b.csv -o own --force", 2, "own/losses.csv|same file"),
    "output below a file": ("sample run -o a.csv/out.csv", 7, "a.csv is not a folder"),
    "run below a file": ("fit a.csv b.csv -o b.csv/run", 7, "b.csv is not a folder"),
    "run is a file": ("fit a.csv b.csv -o c.csv --force", 7, "c.csv is not a folder"),
    "log below a file": ("sample run -o out.csv --log-file a.csv/log", 7, "--log-file a.csv/log"),
    "output without name": ("sample run -o ''", 2, "-o is empty"),
    "run to stdout": ("fit a.csv b.csv -o -", 2, "-o -|stdout: name a folder"),
    "pictures to stdout": ("plot run -o -", 2, "-o -|stdout: name a folder"),
    "page to stdout": ("report run -o -", 2, "-o -|stdout: name a file"),
    "run without name": ("fit a.csv b.csv -o ''", 2, "-o is empty"),
    "stdout twice": ("sample run --json -o -", 2, "--json|stdout"),
    # numbers
    "steps negative": ("fit a.csv b.csv -o new --steps -5", 2, "--steps -5|at least 1"),
    "steps word": ("fit a.csv b.csv -o new --steps many", 2, "--steps 'many'|whole number|auto"),
    "batch zero": ("fit a.csv b.csv -o new --batch-size 0", 2, "--batch-size 0|at least 1"),
    "lr nan": ("fit a.csv b.csv -o new --lr nan", 2, "--lr nan"),
    "lr zero": ("fit a.csv b.csv -o new --lr 0", 2, "--lr 0.0|positive"),
    "lr infinite": ("fit a.csv b.csv -o new --lr inf", 2, "--lr inf|finite"),
    "ema one": ("fit a.csv b.csv -o new --ema 1", 2, "--ema 1.0|below 1"),
    "validation one": ("fit a.csv b.csv -o new --validation 1", 2, "--validation 1.0|below 1"),
    "validation of few": ("fit a.csv b.csv -o new --validation 0.01", 3, "12 points|--validation"),
    "ot batch negative": ("fit a.csv b.csv -o new --ot-batch -1", 2, "--ot-batch -1"),
    "seed negative": ("fit a.csv b.csv -o new --seed -1", 2, "--seed"),
    "threads negative": ("sample run -o out.csv --threads -1", 2, "--threads"),
    "count zero": ("sample run -n 0 -o out.csv", 2, "--count|1"),
    "count of 20 digits": ("sample run -n 12345678901234567890 -o out.csv", 2, "--count|at most"),
    "max points one": ("transport run a.csv --max-points 1 -o out.csv", 2, "--max-points|2"),
    "max points to evaluate": ("evaluate run --max-points 1", 2, "--max-points|2"),
    "frames one": ("interpolate run --frames 1 -o out.csv", 2, "--frames 1|at least 2"),
    "atol negative": ("sample run --atol -1 -o out.csv", 2, "atol=-1|positive"),
    "rtol zero": ("sample run --rtol 0 -o out.csv", 2, "rtol=0|positive"),
    "tolerances out of reach": ("sample run --atol 1e-30 --rtol 1e-30 -o out.csv", 2, "float64"),
    # words
    "method": ("fit a.csv b.csv -o new --method otcmf", 2, "Did you mean 'otcfm'"),
    "coupling": ("fit a.csv b.csv -o new --coupling exakt", 2, "Did you mean 'exact'"),
    "interpolant": ("fit a.csv b.csv -o new --interpolant liner", 2, "Did you mean 'linear'"),
    "objective": ("fit a.csv b.csv -o new --objective speed", 2, "'speed'|velocity"),
    "field": ("fit a.csv b.csv -o new --field mpl", 2, "Did you mean 'mlp'"),
    "transform": ("fit a.csv b.csv -o new --transform standardise", 2, "mean 'standardize'"),
    "solver": ("sample run --solver dopri -o out.csv", 2, "'dopri'|dopri5"),
    "base": ("likelihood run a.csv --base gnn -o out.csv", 2, "'gnn'|gmm"),
    "divergence": ("likelihood run a.csv --divergence exat -o out.csv", 2, "mean 'exact'"),
    "scope": ("fit a.csv b.csv -o new --scope batch", 2, "Did you mean 'minibatch'"),
    "source": ("fit a.csv b.csv -o new --source noise", 2, "'noise'|gaussian"),
    "precision": ("fit a.csv b.csv -o new --precision f64", 2, "'f64'|bf16"),
    "family": ("list sovlers", 2, "Did you mean 'solvers'"),
    "name of a family": ("list solvers rk5", 2, "'rk5'|rk4"),
    "command": ("fti a.csv b.csv -o new", 2, "'fti'|fit"),
    "option": ("fit a.csv b.csv -o new --stepz 3", 2, "--stepz|--steps"),
    "no output": ("sample run", 2, "--output"),
    "no data": ("fit -o new", 2, "--config"),
    # specs
    "spec key": ("fit a.csv b.csv -o new --coupling sinkhorn:rg=1", 2, "'rg'|mean 'reg'"),
    "spec key of none": ("fit a.csv b.csv -o new --transform standardize:a=1", 2, "'a'|none"),
    "spec type": ("fit a.csv b.csv -o new --coupling sinkhorn:reg=low", 2, "reg=low|a number"),
    "spec fraction": ("fit a.csv b.csv -o new --field mlp:width=2.5", 2, "2.5|whole number"),
    "spec range": ("fit a.csv b.csv -o new --coupling sinkhorn:reg=-1", 2, "-1|positive"),
    "spec nan": ("fit a.csv b.csv -o new --interpolant linear:sigma=nan", 2, "nan|finite"),
    "spec zero": ("fit a.csv b.csv -o new --transform pca:n=0", 2, "pca:n=0|at least 1"),
    "spec width": ("fit a.csv b.csv -o new --field mlp:width=0", 2, "width=0|at least 1"),
    "spec steps": ("sample run --solver euler:steps=0 -o out.csv", 2, "steps=0|at least 1"),
    "spec probes": (
        "likelihood run a.csv --divergence hutchinson:probes=1 -o out.csv", 2, "probes=1"),
    "spec components": ("likelihood run a.csv --base gmm:k=99 -o out.csv", 3, "k=99|12 points"),
    "spec form": ("fit a.csv b.csv -o new --transform pca:3", 2, "'3'|key=value"),
    "chain form": ("fit a.csv b.csv -o new --transform log1p,", 2, "''|name:key=value"),
    "two specs": ("fit a.csv b.csv -o new --coupling exact,sinkhorn", 2, "2 specs|one"),
    # contradictions
    "fm from data": ("fit a.csv b.csv --method fm -o new", 2, "N(0, I)|--source gaussian|icfm"),
    "fm coupled": (
        "fit a.csv --source gaussian --method fm --coupling exact -o new", 2, "independent"),
    "gaussian to two": ("fit a.csv b.csv --source gaussian --method fm -o new", 2, "got 2"),
    "base of a gaussian": ("likelihood normal a.csv --base kde -o out.csv", 2, "N(0, I)|--base"),
    "patience alone": ("fit a.csv b.csv --steps 9 --patience 3 -o new", 2, "--validation"),
    "batch of a dataset": ("fit a.csv b.csv --scope dataset --ot-batch 8 -o new", 2, "--ot-batch"),
    "atol of fixed steps": ("sample run --solver euler --atol 1e-3 -o out.csv", 2, "fixed steps"),
    "times and frames": ("interpolate run --times 1 --frames 3 -o out.csv", 2, "--times|--frames"),
    "neither": ("interpolate run -o out.csv", 2, "--times|--frames"),
    "population from data": ("interpolate run a.csv --frames 2 --population -o out.csv", 2, "DATA"),
    # values
    "log of negatives": ("fit minus.csv b.csv --transform log1p -o new", 3, "log1p|-2|above -1"),
    "negative weights": (
        "fit heavy.csv heavy.csv --weight-key w -o new", 3, "line 2, point 0|weight -1|'w'"),
    "weights in words": ("fit words.csv words.csv --weight-key w -o new", 3, "'w'|not numbers"),
    # settings
    "no toml": ("fit a.csv b.csv --config bad.toml -o new", 2, "bad.toml|TOML|line 1"),
    "toml key": ("fit a.csv b.csv --config key.toml -o new", 2, "'stepz'|mean 'steps'"),
    "toml section": ("fit a.csv b.csv --config section.toml -o new", 2, "mean 'training'"),
    "toml type": ("fit a.csv b.csv --config type.toml -o new", 2, "--steps|'three'"),
    "toml range": ("fit a.csv b.csv --config range.toml -o new", 2, "--steps -3|at least 1"),
    "toml missing": ("fit a.csv b.csv --config none.toml -o new", 2, "--config none.toml"),
    "toml of bytes": ("fit a.csv b.csv --config binary.toml -o new", 2, "--config binary.toml"),
    # devices and memory
    "device absent": ("sample run --device cuda:9 -o out.csv", 7, "cuda:9|--device cpu"),
    "device to fit absent": ("fit a.csv b.csv --device cuda:9 -o new", 7, "cuda:9|--device cpu"),
    "device nonsense": ("sample run --device tpu -o out.csv", 2, "'tpu'|cuda"),
    "too many samples": ("sample run -n 99999999999999 -o out.csv", 2, "--count|at most"),
    "network out of memory": ("fit a.csv b.csv --field mlp:width=5000000 -o new", 7, "memory"),
    # conditions
    "point without label": (
        "fit a.csv blank.csv --label-key kind -o new", 3, "blank.csv: line 3, point 1|no label"),
    "point without dose": (
        "fit a.csv gaps.csv --covariates dose -o new", 3, "line 4, point 2|no number|'dose'"),
    "rows without label": ("transport kinds a.csv -o out.csv", 3, "a.csv|'kind'|--label|p, q"),
    "rows without dose": (
        "transport kinds a.csv --label p -o out.csv", 3, "a.csv|'dose'|--covariate dose=VALUE"),
    "scores without label": ("likelihood kinds a.csv -o out.csv", 3, "'kind'|--label|p, q"),
    "starts without label": (
        "interpolate kinds a.csv --frames 2 -o out.csv", 3, "a.csv|'kind'|--label|p, q"),
    "rows of a new class": ("transport kinds other.csv -o out.csv", 3, "other.csv|'pp'|mean 'p'"),
    "label unknown": ("sample kinds --label pp -o out.csv", 2, "'pp'|p, q|mean 'p'"),
    "label of none": ("sample run --label p -o out.csv", 2, "not conditional|--label-key"),
    "label of none carried": ("transport run a.csv --label p -o out.csv", 2, "not conditional"),
    "label of none scored": ("likelihood run a.csv --label p -o out.csv", 2, "not conditional"),
    "label of none followed": ("interpolate run --frames 2 --label p -o out.csv", 2, "not cond"),
    "guidance of none": ("sample run --guidance 2 -o out.csv", 2, "not conditional|--guidance"),
    "guidance negative": ("sample kinds --guidance -1 -o out.csv", 2, "--guidance -1|expected 0"),
    "guidance nan": ("sample kinds --guidance nan -o out.csv", 2, "--guidance nan"),
    "covariate unknown": (
        "sample kinds --covariate dosis=1 -o out.csv", 2, "'dosis'|kind (p, q), dose|mean 'dose'"),
    "covariate without number": ("sample kinds --covariate dose -o out.csv", 2, "'dose'|dose=0.5"),
    "covariate as word": ("sample kinds --covariate dose=low -o out.csv", 2, "'dose=low'|=0.5"),
    "covariate without name": ("sample kinds --covariate =1 -o out.csv", 2, "'=1'|dose=0.5"),
    "covariate infinite": ("sample kinds --covariate dose=inf -o out.csv", 2, "dose=inf|finite"),
    "covariate given twice": ("sample kinds --covariate dose=1,dose=2 -o out.csv", 2, "twice"),
    "condition cost negative": (
        "fit a.csv b.csv -o new --condition-cost -1", 2, "--condition-cost -1.0|at least 0"),
    "condition dropout one": (
        "fit a.csv b.csv -o new --condition-dropout 1", 2, "--condition-dropout 1.0|below 1"),
    "from no run": ("fit --method rf --from-run nowhere -o new", 6, "no run nowhere"),
    "rf without run": ("fit a.csv b.csv --method rf -o new", 2, "--from-run RUN"),
    "data and a run": ("fit c.csv b.csv --method rf --from-run run -o new", 2, "leave DATA out"),
    # starting points
    "unknown column": (
        "interpolate days --frames 2 --where \"brnch == 'a'\" -o out.csv", 2, "'brnch'|branch"),
    "unfinished query": (
        "interpolate days --frames 2 --where 'branch ==' -o out.csv", 2, "--where|syntax"),
    "no condition": ("interpolate days --frames 2 --where weight -o out.csv", 2, "true or false"),
    "writing query": (
        "interpolate days --frames 2 --where \"branch.to_csv('out')\" -o out.csv", 2, "--where"),
    "nobody": (
        "interpolate days --frames 2 --where \"branch == 'z'\" -o out.csv", 3, "No starting point"),
    "unknown id": ("interpolate days --frames 2 --cells ids.txt -o out.csv", 3, "1 of 2|'nobody'"),
    "no ids": ("interpolate days --frames 2 --cells none.txt -o out.csv", 3, "No starting|--cells"),
    "no id file": ("interpolate days --frames 2 --cells no.txt -o out.csv", 3, "no.txt"),
    # numerical failure
    "diverging": (f"fit a.csv b.csv --lr 1e30 -o new {TINY}", 4, "loss became|--lr"),
    "overflowing": (f"fit huge.csv b.csv --transform none -o new {TINY}", 4, "standardize"),
    "stiff": ("transport run huge.csv -o out.csv", 4, "dopri5 failed|--solver rk4"),
}  # fmt: skip
CUTS = (0, 7, 8, 100, -100, -1)


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and bad files and runs, which no row of this file may change."""
    folder = tmp_path_factory.mktemp("room")
    before = Path.cwd()
    os.chdir(folder)
    try:
        _furnish()
    finally:
        os.chdir(before)
    return folder


def _furnish() -> None:
    """Make every file and run that the rows speak of."""
    rng = np.random.default_rng(0)
    for name, shift in (("a", 0), ("b", 2), ("c", 3)):
        points = pd.DataFrame(rng.normal(shift, 1, (12, 2)).round(3), columns=["x", "y"])
        points.to_csv(f"{name}.csv", index=False)
    days = pd.DataFrame(rng.normal(0, 1, (36, 2)).round(3), columns=["x", "y"])
    days.insert(0, "cell", [f"c{t}_{k}" for t in range(3) for k in range(12)])
    kinds = days[["x", "y"]].assign(kind=["p", "q"] * 18, dose=[1, 2, 3] * 12)
    kinds.to_csv("kinds.csv", index=False)
    days = days.assign(day=np.repeat(["d0", "d1", "d2"], 12), branch=["a", "b"] * 18, weight=1)
    days.to_csv("days.csv", index=False)
    (days[["x", "y"]] * 1e300).to_csv("vast.csv", index=False)
    np.save("objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name, content in {**TEXTS, **{k: text for k, (text, _) in SPOILT.items()}}.items():
        Path(name).write_text(content)
    Path("binary.toml").write_bytes(b"\xff\xfe\x00")
    Path("link.csv").symlink_to("a.csv")
    Path("folder.csv").mkdir()
    Path("own").mkdir()
    shutil.copy("a.csv", "own/losses.csv")
    np.save("three.npy", np.ones((4, 3)))
    np.savez("pickled.npz", X=np.array([{}], dtype=object))
    _anndata(rng)
    for line in (
        f"fit a.csv b.csv -o run {TINY}",
        f"fit days.csv --time-key day --drop weight -o days {TINY}",
        f"fit cells.h5ad --time-key day --transform log1p,pca:n=2 -o cells {TINY}",
        f"fit a.csv --source gaussian --method fm -o normal {TINY}",
        f"fit a.csv kinds.csv --label-key kind --covariates dose -o kinds {TINY}",
    ):
        assert carry_out(line) == 0
    assert interrupted(f"fit a.csv b.csv -o half {LONG}", signal.SIGINT)[0] == 130
    assert interrupted(f"fit c.csv b.csv -o changed {LONG}", signal.SIGINT)[0] == 130
    Path("c.csv").write_text(Path("a.csv").read_text())
    _ruins()


def _anndata(rng: np.random.Generator) -> None:
    """A small AnnData, and spoilt ones."""
    obs = pd.DataFrame({"day": np.repeat([0.0, 1.0, 2.0], 12)}, index=[f"c{k}" for k in range(36)])
    var = pd.DataFrame(index=[f"g{k}" for k in range(4)])
    cells = ad.AnnData(rng.poisson(3, (36, 4)).astype(np.float32), obs, var)
    cells.obsm["X_pca"] = rng.normal(size=(36, 2))
    cells.layers["counts"] = cells.X
    cells.write_h5ad("cells.h5ad")
    content = Path("cells.h5ad").read_bytes()
    Path("cut.h5ad").write_bytes(content[: len(content) // 2])
    cells.X[3, 2] = np.nan
    cells.write_h5ad("nan.h5ad")
    with h5py.File("plain.h5ad", "w") as file:
        file["x"] = [1]


def _ruins() -> None:
    """Runs with a spoilt checkpoint."""
    content = (Path("run") / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["cfm"]) | {"format": 99}
    header["__metadata__"]["cfm"] = json.dumps(facts)
    text = json.dumps(header).encode()
    spoilt = {"future": struct.pack("<Q", len(text)) + text + content[8 + length :]}
    spoilt |= {f"cut{count}": content[:count] for count in CUTS}
    for name, changed in spoilt.items():
        shutil.copytree("run", name)
        (Path(name) / "model.safetensors").write_bytes(changed)
    shutil.copytree("run", "empty")
    (Path("empty") / "model.safetensors").unlink()
    shutil.copytree("half", "ruin")
    state = Path("ruin") / "training.safetensors"
    state.write_bytes(state.read_bytes()[:-50])


Refused = Callable[[str, int, str], None]


@pytest.fixture
def refused(room: Path, cfm: Cfm, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """The law: the exit code, one message, no traceback, empty stdout, and nothing changed."""
    monkeypatch.chdir(room)
    monkeypatch.setenv("HOME", str(room))
    monkeypatch.setenv("CFM_THREADS", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))

    def law(line: str, code: int, words: str) -> None:
        before = listing(room)
        ran = cfm(*shlex.split(line))
        after = listing(room)
        _tidy(room, after.keys() - before.keys())
        assert ran.code == code, ran.err
        said = ran.err.splitlines()
        assert [text for text in said if text.startswith("error: ")] == said[-1:]
        assert "Traceback" not in ran.err
        for word in words.split("|"):
            assert word in said[-1]
        assert ran.out == ""
        assert after == before

    return law


def _tidy(room: Path, names: Iterable[str]) -> None:
    """Remove what a row left, so that it alone fails."""
    for name in sorted(names, reverse=True):
        (room / name).rmdir() if (room / name).is_dir() else (room / name).unlink()


@pytest.mark.parametrize("row", ROWS)
def test_bad_input_is_refused(row: str, refused: Refused) -> None:
    """Every row of the table."""
    refused(*ROWS[row])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", SPOILT)
def test_every_reader_refuses_spoilt_points(name: str, reader: str, refused: Refused) -> None:
    """Wherever points are read, what no table of points is ends with code 3 and the place."""
    refused(READERS[reader].format(name), 3, SPOILT[name][1])


@pytest.mark.parametrize("count", CUTS)
@pytest.mark.parametrize("line", ["sample {} -o out.csv", "transport {} a.csv -o out.csv"])
def test_truncated_checkpoints_are_refused(line: str, count: int, refused: Refused) -> None:
    """A checkpoint cut anywhere is damaged, by whatever verb."""
    refused(line.format(f"cut{count}"), 6, f"cut{count}/model.safetensors|damaged")


def test_settings_of_the_environment_are_checked(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable is an option by another way."""
    monkeypatch.setenv("CFM_STEPS", "many")
    refused("fit a.csv b.csv -o new", 2, "--steps 'many'|whole number")


@pytest.mark.parametrize("line", ["sample run -o new/out.csv", "fit a.csv b.csv -o new"])
def test_folders_that_forbid_writing(
    line: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without leave to write, nothing is begun."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused(line, 7, "not writable|-o")


OUTPUTS = ("out.csv", "out.csv.gz", "out.tsv", "out.parquet", "out.npz", "out.h5ad", "new/out.csv")
WRITERS = (
    *(f"transport run a.csv -o {name}" for name in OUTPUTS),
    "transport cells cells.h5ad -o out.h5ad",
    "likelihood run a.csv -o out.csv",
    "interpolate run --frames 2 -o out.h5ad",
    "evaluate run -o out.csv",
    f"fit a.csv b.csv -o new {TINY}",
)


class FullDisk:
    """An fsync that finds the disk full.

    Args:
        left: how many files still have room.
    """

    def __init__(self, left: int = 0) -> None:
        self.left = left

    def __call__(self, descriptor: int) -> None:
        """Let a file pass while there is room."""
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("line", WRITERS)
def test_full_disk(line: str, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while the result is written leaves no half of it."""
    monkeypatch.setattr(os, "fsync", FullDisk())
    refused(line, 7, "No space left|free some space")


def _full_after(files: int) -> AbstractContextManager[object]:
    """A disk with room for so many files."""
    return patch("os.fsync", FullDisk(files))


@pytest.mark.parametrize(
    ("scarce", "words"),
    [
        *((partial(_full_after, files), "No space left") for files in (2, 5, 12)),
        (partial(file_limit, 20_000), "could not be written"),
    ],
)
def test_a_run_that_has_no_room_keeps_what_was_trained(
    scarce: Callable[[], AbstractContextManager[object]],
    words: str,
    room: Path,
    cfm: Cfm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of its files none is left, some of which had room, and --resume writes them all."""
    monkeypatch.chdir(room)
    monkeypatch.setenv("CFM_THREADS", "1")
    line = f"fit a.csv b.csv {TINY} -o".split()
    try:
        with scarce():
            ran = cfm(*line, "new")
        assert ran.code == 7, ran.err
        assert all(word in ran.err.splitlines()[-1] for word in (words, "--resume"))
        assert [path.name for path in (room / "new").iterdir()] == ["training.safetensors"]
        assert cfm(*line, "new", "--resume").code == cfm(*line, "other").code == 0
        new, other = ((room / name / "model.safetensors") for name in ("new", "other"))
        assert new.read_bytes() == other.read_bytes()
    finally:
        for name in ("new", "other"):
            shutil.rmtree(room / name, ignore_errors=True)


def test_a_fit_that_diverges_late_leaves_nothing(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its saved state would only lead there again."""
    blocks = Trainer._block
    ends = iter([False, True])

    def diverging(self: Trainer, pairs: Any) -> tuple[dict[str, float], float]:
        losses, norm = blocks(self, pairs)
        return (dict.fromkeys(losses, math.nan) if next(ends) else losses), norm

    monkeypatch.setattr(Trainer, "_block", diverging)
    refused(f"fit a.csv b.csv -o new {LONG}", 4, "--lr")


@pytest.mark.parametrize("line", [f"-o new {LONG}", f"-o half {LONG} --resume"])
def test_full_disk_while_the_state_is_saved(
    line: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state that has no room leaves no folder behind, and spares the state saved before."""
    monkeypatch.setattr("cfmcli.workflows.fit.SAVE_EVERY", -1.0)
    monkeypatch.setattr(os, "fsync", FullDisk())
    refused(f"fit a.csv b.csv {line}", 7, "training.safetensors|No space left")


@pytest.mark.parametrize(
    "line", ["sample run -n 9999 -o out.csv", "sample run -n 9999 -o out.h5ad"]
)
def test_files_that_grow_too_large(line: str, refused: Refused) -> None:
    """The system's own refusal to write on is told like a full disk."""
    with file_limit(20_000):
        refused(line, 7, "could not be written|limit")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
@pytest.mark.parametrize("line", ["sample run -n 5 -o -", "sample run -n 5000 -o -", "info run"])
def test_full_stdout(line: str, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe's end on a full disk is told, and is no bug."""
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"))
    monkeypatch.setattr(sys, "stdout", full)
    refused(line, 7, "stdout|No space left")
