"""Every name a user may type, and how a spec such as `sinkhorn:reg=0.05` becomes an object.

The catalogue knows names and where they live, and loads a class only when it is built or described.
"""

import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from cfmcli.errors import ConfigError
from cfmcli.presets import METHODS, Preset


@dataclass(frozen=True)
class Entry:
    """Where a catalogue name lives.

    Args:
        target: "module:attribute".
        fixed: options that the name itself decides and the user does not see.
        summary: replaces the docstring's first line where several names share a class.
    """

    target: str
    fixed: dict[str, Any] = field(default_factory=dict)
    summary: str = ""

    def load(self) -> Any:
        """The class or function behind the name."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


def _in(module: str, **names: str) -> dict[str, Entry]:
    """Entries of one module: name (underscores read as hyphens) -> class."""
    return {k.replace("_", "-"): Entry(f"cfmcli.{module}:{v}") for k, v in names.items()}


def _torchdiffeq(target: str, **names: str) -> dict[str, Entry]:
    """Solvers that share a class and differ by torchdiffeq's method name."""
    where = f"cfmcli.flows.dynamics.solvers:{target}"
    return {name: Entry(where, {"method": name}, text) for name, text in names.items()}


CATALOG: dict[str, dict[str, Entry]] = {
    "couplings": {
        **_in(
            "flows.coupling.couplings",
            independent="Independent",
            exact="Exact",
            sinkhorn="Sinkhorn",
            blocks="Blocks",
            paired="Paired",
        ),
        **_in("flows.coupling.relaxed", unbalanced="Unbalanced", partial="Partial"),
        **_in("flows.coupling.wfr", wfr="FisherRao"),
        **_in("flows.coupling.matching", stable="Stable", heuristic="Heuristic"),
        **_in("flows.coupling.bijection", bsp="BinaryPartition"),
        **_in("flows.coupling.semidiscrete", semidiscrete="SemiDiscrete"),
    },
    "interpolants": {
        **_in(
            "flows.path.interpolants",
            linear="Linear",
            trigonometric="Trigonometric",
            brownian="Brownian",
        ),
        **_in(
            "flows.path.curves",
            spline="Spline",
            bent="Bent",
            density="Dense",
            encdec="EncoderDecoder",
            vp="VariancePreserving",
        ),
        **_in(
            "flows.path.onesided",
            onesided_linear="OneSidedLinear",
            onesided_trigonometric="OneSidedTrigonometric",
            onesided_sbdm="OneSidedDiffusion",
            mirror="Mirror",
        ),
        **_in("flows.path.growing", wfr="TravellingDirac"),
        **_in("flows.path.learned", learned="Learned", learned_bridge="LearnedBridge"),
    },
    "objectives": {
        **_in("flows.objective.objectives", velocity="Velocity"),
        "velocity+score": Entry("cfmcli.flows.objective.latent_objectives:VelocityScore"),
        "velocity+denoiser": Entry("cfmcli.flows.objective.latent_objectives:VelocityDenoiser"),
        "v+score": Entry("cfmcli.flows.objective.latent_objectives:MeanVelocityScore"),
        "v+denoiser": Entry("cfmcli.flows.objective.latent_objectives:MeanVelocityDenoiser"),
        **_in("flows.objective.latent_objectives", denoiser="Denoiser"),
        "velocity+growth": Entry("cfmcli.flows.objective.growth:VelocityGrowth"),
        **_in("flows.objective.objectives", static="Static"),
        "sf2m": Entry(
            "cfmcli.flows.objective.latent_objectives:VelocityScore",
            {"weighted": True},
            "Velocity and score of a bridge, the score weighted to unit variance: [SF]2M.",
        ),
    },
    "fields": _in("flows.fields", mlp="MLP"),
    "solvers": {
        **_torchdiffeq(
            "Adaptive",
            dopri5="Dormand-Prince 5(4), adaptive: the default.",
            dopri8="Dormand-Prince 8(7), adaptive: for tight tolerances.",
            bosh3="Bogacki-Shampine 3(2), adaptive: for loose tolerances.",
            fehlberg2="Runge-Kutta-Fehlberg 2(1), adaptive; sees little of its own error.",
            adaptive_heun="Heun-Euler 2(1), adaptive.",
        ),
        **_torchdiffeq(
            "FixedStep",
            euler="Euler, order 1: one field evaluation a step.",
            midpoint="Midpoint, order 2: two evaluations a step.",
            heun2="Heun, order 2: two evaluations a step.",
            heun3="Heun, order 3: three evaluations a step.",
            rk4="Runge-Kutta 3/8 rule, order 4: four evaluations a step.",
            explicit_adams="Adams-Bashforth, multistep, order 4.",
            implicit_adams="Adams-Bashforth-Moulton, multistep with correction, order 4.",
        ),
        **_in("flows.dynamics.pace", auto="Auto"),
        **_in(
            "flows.dynamics.sde", euler_maruyama="EulerMaruyama", stochastic_heun="StochasticHeun"
        ),
    },
    "diffusions": _in(
        "flows.dynamics.diffusions",
        constant="Constant",
        bridge="Bridge",
        decreasing="Decreasing",
        gamma="Gamma",
    ),
    "bases": {
        **_in(
            "flows.densities",
            auto="Auto",
            gaussian="Gaussian",
            gmm="GaussianMixture",
            kde="KernelDensity",
        ),
        **_in("flows.training.flow_density", flow="FlowBase"),
    },
    "transforms": _in(
        "data.transforms",
        none="Identity",
        standardize="Standardize",
        normalize="Normalize",
        log1p="Log1p",
        hvg="VariableFeatures",
        pca="PCA",
    ),
    "preparations": _in("data.preparations", scanpy="Scanpy"),
    "divergences": _in(
        "flows.dynamics.likelihood", auto="Auto", exact="Exact", hutchinson="Hutchinson"
    ),
    "estimators": _in(
        "flows.dynamics.estimators", ode="Ode", sde="Controlled", feynman_kac="FeynmanKac"
    ),
    "metrics": _in(
        "metrics",
        w1="w1",
        w2="w2",
        sliced_w2="sliced_w2",
        energy="energy_distance",
        mmd="mmd",
        sinkhorn_divergence="sinkhorn_divergence",
        path_energy="path_energy",
        npe="normalized_path_energy",
        straightness="straightness",
        curvature="curvature",
    ),
}

FAMILIES: tuple[str, ...] = ("methods", *CATALOG)


@dataclass(frozen=True)
class Spec:
    """A parsed `name:key=value,key=value`.

    Args:
        name: a name of some family.
        options: its options as text, in the order given.
    """

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        tail = ",".join(f"{key}={value}" for key, value in self.options)
        return f"{self.name}:{tail}" if tail else self.name


@dataclass(frozen=True)
class Option:
    """One option of a catalogue entry, as `cfm list` shows it."""

    name: str
    kind: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Card:
    """What `cfm list` shows of a catalogue entry."""

    name: str
    summary: str
    options: tuple[Option, ...] = ()
    reference: str = ""
    use: str = ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, if any, and lists them all."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    return f"{guess} Known: {', '.join(names) or 'none'}."


def parse_spec(text: str) -> Spec:
    """Read `name:key=value,key=value`.

    Raises:
        ConfigError: if it is empty, a chain of several specs, or not of that form.
    """
    specs = parse_chain(text)
    if len(specs) != 1:
        raise ConfigError(f"'{text}' names {len(specs)} specs where one is expected.")
    return specs[0]


def parse_chain(text: str) -> tuple[Spec, ...]:
    """Read specs chained with commas: "log1p,pca:n=50,standardize".

    A piece with "=" and no ":" belongs to the spec before it.

    Raises:
        ConfigError: if a piece is not of the form.
    """
    specs: list[Spec] = []
    for piece in (part.strip() for part in text.split(",")):
        head, colon, tail = piece.partition(":")
        if "=" in head and not colon and specs:
            last = specs.pop()
            specs.append(Spec(last.name, (*last.options, _option(piece, text))))
        elif re.fullmatch(r"[A-Za-z][\w+-]*", head) and (tail or not colon):
            specs.append(Spec(head, (_option(tail, text),) if tail else ()))
        else:
            raise ConfigError(
                f"Cannot read '{piece}' in '{text}': expected name or name:key=value,key=value, "
                "for example sinkhorn:reg=0.05."
            )
    return tuple(specs)


def _option(text: str, whole: str) -> tuple[str, str]:
    """Read one key=value."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise ConfigError(f"Cannot read the option '{text}' in '{whole}': expected key=value.")
    return key, value


def names(family: str) -> tuple[str, ...]:
    """The names of a family.

    Raises:
        ConfigError: if there is no such family.
    """
    if family == "methods":
        return tuple(METHODS)
    if family not in CATALOG:
        raise ConfigError(f"Unknown family '{family}'.{did_you_mean(family, FAMILIES)}")
    return tuple(CATALOG[family])


def preset(name: str) -> Preset:
    """The triple behind a method's name.

    Raises:
        ConfigError: if there is no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"Unknown method '{name}'.{did_you_mean(name, METHODS)}")
    return METHODS[name]


def entry(family: str, name: str) -> Entry:
    """The entry of a name in a family of classes.

    Raises:
        ConfigError: if there is no such name.
    """
    known = names(family)
    if name not in known:
        single = family.removesuffix("s").replace("base", "base density")
        raise ConfigError(f"Unknown {single} '{name}'.{did_you_mean(name, known)}")
    return CATALOG[family][name]


def name_of(family: str, thing: object) -> str:
    """The name in a family under which an object's class is listed."""
    own = f"{type(thing).__module__}:{type(thing).__name__}"
    return next(name for name, item in CATALOG[family].items() if item.target == own)


def build(family: str, spec: str | Spec) -> Any:
    """Build the object that a spec names.

    Args:
        family: a family of the catalogue.
        spec: its text, or the parsed spec.

    Raises:
        ConfigError: for an unknown name or option, or a value of the wrong kind or range.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    found = entry(family, spec.name)
    target = found.load()
    kinds = _option_kinds(found, target)
    values: dict[str, Any] = dict(found.fixed)
    for key, text in spec.options:
        if key not in kinds:
            raise ConfigError(f"{spec.name} has no option '{key}'.{did_you_mean(key, kinds)}")
        values[key] = _coerce(text, kinds[key], f"{spec.name}:{key}")
    return target(**values)


def _option_kinds(found: Entry, target: Any) -> dict[str, type]:
    """The user's options of an entry and their types."""
    if not dataclasses.is_dataclass(target):
        return {}
    hints = get_type_hints(target)
    known = [f.name for f in dataclasses.fields(target) if f.init]
    return {name: hints[name] for name in known if name not in found.fixed}


def _coerce(text: str, kind: type, where: str) -> Any:
    """Read an option's text as its declared type."""
    truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return truth[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(f"{where}={text}: expected {wanted.get(kind, kind.__name__)}.") from None


def describe(family: str, name: str) -> Card:
    """What `cfm list` shows of a name, read from the class's own fields and docstring."""
    if family == "methods":
        found = preset(name)
        triple = f"{found.coupling} + {found.interpolant} + {found.objective}"
        parts = (
            Option("triple", "spec", triple, "coupling + interpolant + objective"),
            *(
                Option(key, type(value).__name__, str(value), "its own default of this setting")
                for key, value in found.settings.items()
            ),
        )
        return Card(name, found.summary, parts, found.reference, found.use)
    item = entry(family, name)
    target = item.load()
    doc = inspect.getdoc(target) or ""
    meanings = _arguments(doc)
    options = tuple(
        Option(key, kind.__name__, str(getattr(target, key)), meanings.get(key, ""))
        for key, kind in _option_kinds(item, target).items()
    )
    summary = item.summary or doc.partition("\n")[0]
    return Card(name, summary, options, _section(doc, "Reference"), _section(doc, "Use"))


def _section(doc: str, title: str) -> str:
    """A one-paragraph section "Title: text" of a docstring, on one line."""
    match = re.search(rf"^{title}:\s*(.+?)(?=\n\s*\n|\n\w+:|\Z)", doc, re.MULTILINE | re.DOTALL)
    return " ".join(match.group(1).split()) if match else ""


def _arguments(doc: str) -> dict[str, str]:
    """Option name -> meaning, from the docstring's Args section."""
    match = re.search(r"^Args:\n(.+?)(?=\n\s*\n|\n\w+:|\Z)", doc, re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    last = ""
    for line in (match.group(1) if match else "").splitlines():
        head = re.match(r"    (\w+): (.*)", line)
        if head:
            last, found[head.group(1)] = head.group(1), head.group(2)
        elif last:
            found[last] += " " + line.strip()
    return found
