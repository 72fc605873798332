import contextlib
import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmcli import catalog
from cfmcli.cards import describe
from cfmcli.errors import CfmError, ConfigError
from cfmcli.presets import METHODS
from cfmcli.recipe import Recipe
from cfmcli.specs import Spec, parse_chain, parse_spec
from cfmcli.workflows import assemble

ENTRIES = [(family, name) for family in catalog.CATALOG for name in catalog.names(family)]
BUILT = [(family, name) for family, name in ENTRIES if family != "metrics"]

# A value other than the default, for each option of each entry.
OTHER: dict[str, str] = {
    "reg": "0.7",
    "size": "33",
    "gain": "0.3",
    "cost": "cosine",
    "entropy": "0.3",
    "reg_m": "2.5",
    "delta": "1.7",
    "mass": "0.6",
    "plans": "5",
    "tolerance": "0.2",
    "sigma": "0.37",
    "bend": "0.7",
    "amplitude": "0.25",
    "width": "11",
    "depth": "5",
    "activation": "tanh",
    "atol": "0.003",
    "rtol": "0.004",
    "steps": "7",
    "k": "3",
    "bandwidth": "0.2",
    "n": "4",
    "flavor": "cell_ranger",
    "target": "500.0",
    "genes": "3",
    "pcs": "2",
    "gamma": "quadratic",
    "a": "0.6",
    "schedule": "cosine",
    "terms": "6",
    "epsilon": "0.8",
    "antithetic": "False",
    "weighted": "False",
    "paths": "9",
    "level": "0.9",
    "probes": "5",
}

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_+-]{0,8}", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9_.+-]{1,9}", fullmatch=True)
SPECS = st.builds(Spec, NAMES, st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple))


@pytest.mark.parametrize(("family", "name"), ENTRIES)
def test_every_entry_says_what_it_is(family: str, name: str) -> None:
    """Summary, a use or a reference, and the meaning and default of every option."""
    card = describe(family, name)
    assert card.summary.endswith(".")
    assert len(card.summary) > 15
    if family not in ("solvers", "transforms", "bases", "metrics"):
        assert card.reference or card.use
    for option in card.options:
        assert option.meaning, option.name
        assert option.default != ""
        assert option.kind in ("int", "float", "str", "bool")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is(name: str) -> None:
    """A method shows its triple, its reference with an identifier, and its use."""
    card, preset = describe("methods", name), catalog.preset(name)
    assert card.summary.endswith(".")
    assert re.search(r"arXiv \d|doi 10", card.reference)
    assert card.use
    for part in (preset.coupling, preset.interpolant, preset.objective):
        assert part in card.options[0].default


@pytest.mark.parametrize(("family", "name"), BUILT)
def test_defaults_of_the_card_rebuild_the_default_object(family: str, name: str) -> None:
    """Writing out every default that the card shows changes nothing."""
    card = describe(family, name)
    spelled = ",".join(f"{o.name}={o.default}" for o in card.options)
    assert catalog.build(family, f"{name}:{spelled}" if spelled else name) == catalog.build(
        family, name
    )


@pytest.mark.parametrize(("family", "name"), BUILT)
def test_every_option_changes_the_object(family: str, name: str) -> None:
    """No option is dead: another value builds another object, in that field alone."""
    plain = catalog.build(family, name)
    for option in describe(family, name).options:
        changed = catalog.build(family, f"{name}:{option.name}={OTHER[option.name]}")
        assert changed != plain
        before, after = dataclasses.asdict(plain), dataclasses.asdict(changed)
        assert {k for k in before if before[k] != after[k]} == {option.name}
        assert str(after[option.name]) == OTHER[option.name]


@pytest.mark.parametrize(("family", "name"), BUILT)
def test_wrong_options_are_refused(family: str, name: str) -> None:
    """An unknown key is named beside the known ones; a value of the wrong kind is shown."""
    with pytest.raises(ConfigError, match="zzz"):
        catalog.build(family, f"{name}:zzz=1")
    for option in describe(family, name).options:
        if option.kind == "str":
            continue
        with pytest.raises(ConfigError, match=re.escape(f"{name}:{option.name}=much")):
            catalog.build(family, f"{name}:{option.name}=much")
        for value in ("nan", "-1"):
            with pytest.raises(ConfigError):
                catalog.build(family, f"{name}:{option.name}={value}")


@pytest.mark.parametrize(
    ("family", "typed", "meant"),
    [
        ("couplings", "sinkhron", "sinkhorn"),
        ("interpolants", "lineer", "linear"),
        ("solvers", "dorpi5", "dopri5"),
        ("transforms", "standardise", "standardize"),
        ("bases", "gaussain", "gaussian"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(family: str, typed: str, meant: str) -> None:
    """Did you mean, and the whole list."""
    with pytest.raises(ConfigError) as caught:
        catalog.build(family, typed)
    assert f"Did you mean '{meant}'?" in str(caught.value)
    assert all(name in str(caught.value) for name in catalog.names(family))


def test_a_misspelt_method_family_or_option_gets_a_suggestion() -> None:
    """The same for methods, families and options."""
    with pytest.raises(ConfigError, match="Did you mean 'otcfm'"):
        catalog.preset("otcmf")
    with pytest.raises(ConfigError, match="Did you mean 'couplings'"):
        catalog.names("coupling")
    with pytest.raises(ConfigError, match="Did you mean 'reg'"):
        catalog.build("couplings", "sinkhorn:regs=0.1")


@given(SPECS)
def test_a_spec_survives_print_and_parse(spec: Spec) -> None:
    """parse(print(spec)) = spec."""
    assert parse_spec(str(spec)) == spec


@given(st.lists(SPECS, min_size=1, max_size=4), st.sampled_from([",", ", ", " ,"]))
def test_a_chain_survives_print_and_parse(specs: list[Spec], comma: str) -> None:
    """Chains keep the order, and each option stays with its spec."""
    assert parse_chain(comma.join(map(str, specs))) == tuple(specs)


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text makes the parser fail in another way, and what it reads prints to what it reads."""
    with contextlib.suppress(ConfigError):
        found = parse_chain(text)
        assert parse_chain(",".join(map(str, found))) == found


@pytest.mark.parametrize("text", ["", ":", "a:", "a:b", "a:b=", "a:=1", "1a", "a b", "a,,b", "=1"])
def test_malformed_specs_are_refused(text: str) -> None:
    """Each is refused with a message."""
    with pytest.raises(ConfigError):
        parse_chain(text)


def test_a_chain_is_not_one_spec() -> None:
    """Two specs where one is expected."""
    with pytest.raises(ConfigError, match="2 specs"):
        parse_spec("log1p,standardize")


@pytest.mark.parametrize(("family", "name"), [e for e in BUILT if not catalog.entry(*e).fixed])
def test_an_object_finds_its_name(family: str, name: str) -> None:
    """name_of is the inverse of build."""
    assert catalog.name_of(family, catalog.build(family, name)) == name


@pytest.mark.parametrize("name", METHODS)
def test_every_method_builds_its_triple(name: str) -> None:
    """A preset is three specs of the catalogue that go together."""
    source = "gaussian" if name == "fm" else "data"
    run = "run" if name == "rf" else ""
    built = assemble.triple(Recipe(method=name, source=source, from_run=run))
    preset = catalog.preset(name)
    for family, part, spec in (
        ("couplings", built.coupling, preset.coupling),
        ("interpolants", built.interpolant, preset.interpolant),
        ("objectives", built.objective, preset.objective),
    ):
        assert part == catalog.build(family, spec)


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"method": "fm"}, "--source gaussian"),
        ({"method": "fm"}, "--method icfm"),
        ({"interpolant": "onesided-linear"}, "--source gaussian"),
        (
            {"method": "fm", "source": "gaussian", "coupling": "exact"},
            "--coupling independent, or --interpolant linear",
        ),
        ({"scope": "dataset", "ot_batch": 64}, "leave one of them out"),
    ],
)
def test_impossible_combinations_name_the_way_out(settings: dict[str, Any], remedy: str) -> None:
    """The refusal says what to use instead, and following it works."""
    with pytest.raises(ConfigError, match=remedy):
        assemble.triple(Recipe(**settings))


def test_the_ways_out_work() -> None:
    """What the refusals recommend is accepted."""
    assemble.triple(Recipe(method="fm", source="gaussian"))
    assemble.triple(Recipe(method="icfm"))
    assemble.triple(Recipe(method="fm", source="gaussian", coupling="exact", interpolant="linear"))


@pytest.mark.parametrize("field", ["coupling", "interpolant", "objective"])
def test_unknown_parts_of_a_triple_are_refused(field: str) -> None:
    """A part that the catalogue does not have is a usage error."""
    with pytest.raises(ConfigError, match="Known:"):
        assemble.triple(Recipe(**{field: "nothing-like-it"}))  # type: ignore[arg-type]


@given(st.floats(0.01, 50))
def test_the_bridge_ties_the_regularisation(sigma: float) -> None:
    """With sbcfm the entropic coupling has reg = 2 sigma^2, whatever the bridge's sigma."""
    built = assemble.triple(Recipe(method="sbcfm", interpolant=f"brownian:sigma={sigma!r}"))
    assert built.coupling.reg == pytest.approx(2 * sigma**2, rel=1e-5)  # type: ignore[attr-defined]
    assert built.interpolant.sigma == sigma  # type: ignore[attr-defined]


def test_a_given_coupling_is_not_tied() -> None:
    """What the user says of the coupling stands."""
    assert Recipe(method="sbcfm", coupling="exact").triple()[0] == "exact"
    assert Recipe(method="sbcfm").triple()[0] == catalog.preset("sbcfm").coupling


def test_errors_have_the_contracted_exit_codes() -> None:
    """Each class of error has its own code, 2 to 7."""
    codes = {c.__name__: c.exit_code for c in CfmError.__subclasses__() if c.exit_code != 1}
    assert codes == {
        "ConfigError": 2,
        "DataError": 3,
        "NumericsError": 4,
        "OutputExistsError": 5,
        "CheckpointError": 6,
        "ResourceError": 7,
    }
