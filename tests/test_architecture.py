import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cfmcli

PACKAGE = Path(cfmcli.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NUMERICS = [p for p in FILES if p.relative_to(PACKAGE).parts[0] in ("data", "flows", "metrics")]
HEAVY = ("torch", "ot", "pandas", "anndata", "scanpy", "matplotlib", "scipy", "sklearn", "pyarrow")
MOST_LINES = 300


def name(path: Path) -> str:
    """A file's path inside the package."""
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize(
    "module", ["cfmcli", "cfmcli.cli", "cfmcli.catalog", "cfmcli.recipe", "cfmcli.workflows.info"]
)
def test_help_and_info_load_nothing_heavy(module: str) -> None:
    """Importing them loads none of the libraries that take seconds."""
    code = f"import sys, {module}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.split() == []


def test_describing_a_run_loads_no_torch(toy_run: Path) -> None:
    """`cfm info` reads headers and small files alone."""
    code = (
        "import sys; from cfmcli.workflows.info import describe_run; "
        f"describe_run({str(toy_run)!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("line", "unused"),
    [
        ("sample {run} -n 9", "pydantic ot sklearn matplotlib anndata scipy.stats torch._dynamo"),
        ("transport {run} {samples}/source.csv", "sklearn matplotlib anndata torch._dynamo"),
        ("likelihood {run} {samples}/source.csv", "ot matplotlib anndata"),
        (
            "fit {samples}/source.csv {samples}/target.csv --steps 1",
            "sklearn anndata scanpy rich",
        ),
        ("info {run}", "torch rich numpy pandas pydantic"),
    ],
    ids=lambda value: value.split()[0],
)
def test_commands_load_only_what_they_use(
    line: str, unused: str, toy_run: Path, samples: Path, tmp_path: Path
) -> None:
    """Among what takes long: compilers, and libraries of which one function is used."""
    words = line.format(run=toy_run, samples=samples).split()
    if words[0] != "info":
        words += ["-o", str(tmp_path / ("run" if words[0] == "fit" else "out.csv"))]
    code = (
        "import sys\nfrom cfmcli.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit as left: code = left.code\n"
        f"print('code', code, *(m for m in {unused.split()!r} if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.splitlines()[-1] == "code 0"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_are_short(path: Path) -> None:
    """A file is one sitting's reading."""
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", FILES, ids=name)
def test_only_streams_make_randomness(path: Path) -> None:
    """No global seed, no global generator, no unseeded generator."""
    if path.name == "streams.py":
        return
    text = path.read_text()
    found = re.findall(
        r"manual_seed|np\.random\.(?!Generator|default_rng\(0\)|SeedSequence)\w+|\brandom\.seed"
        r"|torch\.(?:randn?|randperm|randint)\((?!.*generator)|torch\.seed",
        text,
    )
    if path.name != "toys.py":
        assert found == []


@pytest.mark.parametrize("path", NUMERICS, ids=name)
def test_numerics_neither_print_nor_touch_files(path: Path) -> None:
    """No print, no open, no Path, no plot in data, flows and metrics."""
    tree = ast.parse(path.read_text())
    called = {
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert not called & {"print", "open", "input"}
    imported = {
        a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
    }
    imported |= {
        (n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)
    }
    assert not imported & {"pathlib", "os", "io", "matplotlib", "logging", "rich", "typer"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nobody_prints(path: Path) -> None:
    """stdout is data: only the console writes to it."""
    if path.parent.name == "cli":
        return
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [n.lineno for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_everything_public_has_a_docstring(path: Path) -> None:
    """Modules, classes, functions and methods without a leading underscore."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), name(path)
    things = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    scopes: list[ast.Module | ast.ClassDef] = [tree, *classes]
    bare = [
        node.name
        for scope in scopes
        for node in scope.body
        if isinstance(node, things)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert bare == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_functions_are_short_and_annotated(path: Path) -> None:
    """At most 60 lines, all arguments and results annotated."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef):
            continue
        body = (node.end_lineno or 0) - node.body[0].lineno + 1
        assert body <= 60 + (ast.get_docstring(node) or "").count("\n") + 2, node.name
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        assert bare == [], node.name
        assert node.returns is not None, node.name


def test_no_method_is_overridden_twice() -> None:
    """A class is abstract or final: what inherits from a concrete method leaves it alone."""
    for info in pkgutil.walk_packages([str(PACKAGE)], "cfmcli."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for cls in vars(module).values():
            if not (inspect.isclass(cls) and cls.__module__ == module.__name__):
                continue
            for base in cls.__mro__[1:]:
                if not base.__module__.startswith("cfmcli"):
                    continue
                shared = {k for k, v in vars(base).items() if inspect.isfunction(v)} & set(
                    vars(cls)
                )
                again = {
                    k
                    for k in shared
                    if not k.startswith("__")
                    and not getattr(vars(base)[k], "__isabstractmethod__", False)
                }
                assert not again, (cls, base, again)
