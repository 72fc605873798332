"""Catalogue: every name a user may type, and how specs such as `sinkhorn:reg=0.05` are built.

It knows names and import paths, and loads a class only when it is built or described.
"""

import dataclasses
import difflib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from cfmcli.errors import ConfigError
from cfmcli.presets import METHODS, Preset
from cfmcli.specs import Spec, parse_spec


@dataclass(frozen=True)
class Entry:
    """Location of a catalogue name.

    Args:
        target: "module:attribute".
        fixed: options that the name itself fixes and the user does not see.
        summary: replaces the first line of the docstring if several names share a class.
    """

    target: str
    fixed: dict[str, Any] = field(default_factory=dict)
    summary: str = ""

    def load(self) -> Any:
        """Import the class or function behind the name."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def kinds(self) -> dict[str, type]:
        """User-settable options and their types."""
        target = self.load()
        if not dataclasses.is_dataclass(target):
            return {}
        hints = get_type_hints(target)
        known = [f.name for f in dataclasses.fields(target) if f.init]
        return {name: hints[name] for name in known if name not in self.fixed}


def _in(module: str, **names: str) -> dict[str, Entry]:
    """Build entries of one module: name (underscores become hyphens) -> class."""
    return {k.replace("_", "-"): Entry(f"cfmcli.{module}:{v}") for k, v in names.items()}


def _torchdiffeq(target: str, **names: str) -> dict[str, Entry]:
    """Build entries of solvers that share a class and differ by torchdiffeq's method name."""
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
        **_in("flows.path.interpolants", linear="Linear", trigonometric="Trigonometric"),
        **_in("flows.path.bridge", brownian="Brownian"),
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
            "flows.bases",
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


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest known word in a sentence; empty if none is close."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest known word in a sentence, if any, and list all known words."""
    names = list(known)
    return f"{nearest(word, names)} Known: {', '.join(names) or 'none'}."


def names(family: str) -> tuple[str, ...]:
    """List the names of a family.

    Raises:
        ConfigError: if there is no such family.
    """
    if family == "methods":
        return tuple(METHODS)
    if family not in CATALOG:
        raise ConfigError(f"Unknown family '{family}'.{did_you_mean(family, FAMILIES)}")
    return tuple(CATALOG[family])


def preset(name: str) -> Preset:
    """Look up the preset of a method.

    Raises:
        ConfigError: if there is no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"Unknown method '{name}'.{did_you_mean(name, METHODS)}")
    return METHODS[name]


def entry(family: str, name: str) -> Entry:
    """Look up the entry of a name in a family other than methods.

    Raises:
        ConfigError: if there is no such name.
    """
    known = names(family)
    if name not in known:
        single = family.removesuffix("s").replace("base", "base density")
        raise ConfigError(f"Unknown {single} '{name}'.{did_you_mean(name, known)}")
    return CATALOG[family][name]


def name_of(family: str, thing: object) -> str:
    """Find the name in a family under which an object's class is listed."""
    own = f"{type(thing).__module__}:{type(thing).__name__}"
    return next(name for name, item in CATALOG[family].items() if item.target == own)


def build(family: str, spec: str | Spec) -> Any:
    """Build the object that a spec names.

    Args:
        family: a family of the catalogue.
        spec: the spec as text or parsed.

    Raises:
        ConfigError: for an unknown name or option, or a value of the wrong kind or range.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    found = entry(family, spec.name)
    kinds = found.kinds()
    values: dict[str, Any] = dict(found.fixed)
    for key, text in spec.options:
        if key not in kinds:
            raise ConfigError(f"{spec.name} has no option '{key}'.{did_you_mean(key, kinds)}")
        values[key] = _coerce(text, kinds[key], f"{spec.name}:{key}")
    return found.load()(**values)


def _coerce(text: str, kind: type, where: str) -> Any:
    """Convert an option's text to its declared type."""
    truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return truth[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(f"{where}={text}: expected {wanted.get(kind, kind.__name__)}.") from None
