"""Help is quick, light, complete, and its examples run."""

import shlex
import subprocess
import sys
import time
from typing import Any

import pytest

import cfmcli
from cfmcli import recipe
from cfmcli.cards import Card
from cfmcli.cli import app
from tests.cli.harness import COMMANDS, Cfm, Stub

HEAVY = (
    "torch ot torchdiffeq pandas anndata scanpy scipy sklearn matplotlib h5py pyarrow numpy"
    " pydantic markdown_it pygments importlib.metadata"
)
LIMIT = 1.5  # three times the promised half second, for busy machines
COMMON = "--seed --device --threads --quiet -q --verbose -v --log-file --no-progress --debug --json"
FLOW = "--solver --atol --rtol --output -o --force --dry-run"
SHARING = "--shard --jobs"
CONDITION = "--label --covariate"
CARRY = f"{FLOW} {SHARING} {CONDITION}"
PROMISED = {
    "fit": "--output -o --force --dry-run --resume --nproc --ot-workers --config --method"
    " --coupling --interpolant --objective --field --scope --ot-batch --source --times --time-key"
    " --time-order --time-map --holdout"
    " --transform --label-key --weight-key --id-key --features --drop --where --layer --use-rep"
    " --covariates --condition-cost --condition-dropout --from-run"
    " --steps --batch-size --lr --ema --validation --patience --precision",
    "sample": f"{CARRY} --precision --guidance --sde --count -n --time",
    "transport": f"{CARRY} --precision --guidance --sde --from --to --against --max-points",
    "likelihood": f"{CARRY} --time --base --divergence --estimator --sde --known",
    "interpolate": f"{CARRY} --precision --guidance --sde --times --frames --from --population"
    " --sides --cells --where",
    "fate": f"{FLOW} {CONDITION} --guidance --sde --from --to --against --label-key --neighbours"
    " --spread --draws --truth --set",
    "genes": f"{FLOW} {CONDITION} --guidance --sde --times --frames --from --cells --where --genes"
    " --top --label-key --fate-key --fates",
    "evaluate": f"{FLOW} --against --time --max-points --seeds --strict --by --time-key --holdout"
    " --where --method --transform --steps --config",
    "merge": "--output -o --data --force --dry-run",
    "plot": "--output -o --format --basis --data --what --label-key --colour --features --force",
    "report": "--output -o --multiqc --sample-id --max-points --what --basis --data --label-key"
    " --colour --features --force",
    "info": "",
    "list": "",
}
PAGES = [[], *([name] for name in COMMANDS)]
OPTIONS = [
    pytest.param(item, id=f"{name} {item.opts[0]}")
    for name, command in COMMANDS.items()
    for item in command.params
    if item.param_type_name == "option"
]
EXAMPLES = [
    line.strip()
    for command in COMMANDS.values()
    for line in command.help.splitlines()
    if line.strip().startswith("cfm ")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: " ".join(page) or "cfm")
def test_help_is_quick_and_light(page: list[str]) -> None:
    """A page of help comes within the time, and loads no numerics and no other command."""
    others = [f"cfmcli.cli.{name}" for name in COMMANDS if name not in page]
    code = (
        "import sys\nfrom cfmcli.cli import main\n"
        f"try: main({[*page, '--help']!r})\n"
        "except SystemExit as left: code = left.code\n"
        f"print(*sorted(set(sys.modules) & set({[*HEAVY.split(), *others]!r})), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    seconds: list[float] = []
    while not seconds or (min(seconds) > LIMIT and len(seconds) < 3):
        start = time.perf_counter()
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
    assert ran.returncode == 0
    assert ran.stderr.split() == []
    assert "Usage: cfm" in ran.stdout
    assert min(seconds) < LIMIT


@pytest.mark.parametrize("name", COMMANDS)
def test_the_overview_says_of_a_command_what_it_says_of_itself(name: str) -> None:
    """The table of commands repeats the first line of each one's help."""
    assert COMMANDS[name].help.partition("\n")[0] == app.VERBS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_promised_option_is_there(name: str) -> None:
    """The contract's options, and the common ones, are options of the command."""
    there = {flag for item in COMMANDS[name].params for flag in item.opts}
    assert set(f"{PROMISED[name]} {COMMON}".split()) <= there


@pytest.mark.parametrize("item", OPTIONS)
def test_every_option_explains_itself(item: Any) -> None:
    """An option has a meaning, a default, a panel and a variable named after it."""
    assert item.help
    assert item.help[0].isupper() or item.help.startswith("auto")
    shown = item.show_default and item.default not in (None, "")
    assert item.is_flag or item.required or shown or "[default: " in item.help
    assert item.rich_help_panel
    assert item.envvar == "CFM_" + item.opts[0].strip("-").replace("-", "_").upper()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_explains_itself(name: str) -> None:
    """A positional argument has a meaning."""
    for item in COMMANDS[name].params:
        assert item.param_type_name == "option" or item.help


def test_fit_shows_the_recipe_s_own_words_and_defaults(
    cfm: Cfm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fit's help says of a setting is what the recipe says."""
    monkeypatch.setenv("COLUMNS", "300")
    page = cfm("fit", "--help").out
    for name in ("steps", "lr", "field", "scope", "precision", "ema"):
        line = next(line for line in page.splitlines() if f"│ {recipe.option(name)} " in line)
        assert recipe.meaning(name)[1:] in line
        assert f"[default: {recipe.default(name)}]" in line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name: str) -> None:
    """The help of a command shows how it is typed."""
    assert any(line.startswith(f"cfm {name} ") for line in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_runs(
    example: str, cfm: Cfm, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An example in the help is a command that cfm accepts."""
    monkeypatch.setattr("cfmcli.io.describe", lambda path: {"points": 3})
    monkeypatch.setattr("cfmcli.cli.list.describe", lambda family, name: Card(name, "summary"))
    ran = cfm(*shlex.split(example)[1:])
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_cfm_alone_shows_its_commands(arguments: tuple[str, ...], cfm: Cfm) -> None:
    """Without a command, cfm names them all."""
    ran = cfm(*arguments)
    assert ran.code == 0
    assert set(COMMANDS) <= set(ran.out.split())


def test_version_is_the_bare_number(cfm: Cfm) -> None:
    """Pipelines read the version as it is."""
    assert cfm("--version").out == f"{cfmcli.__version__}\n"
