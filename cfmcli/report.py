"""Report: a self-contained HTML page about a run; the page loads and executes nothing."""

import base64
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cfmcli.cards import Card
from cfmcli.markup import Html, folded, join, table, tag, word
from cfmcli.plots.canvas import Picture

FLOOR = (
    "The floor is the same distance between two samples of the observed points: about the least "
    "that any model can reach at points it has not seen; at those it was fitted to, it can come "
    "nearer. Distances are in flow coordinates, after the transform."
)
REFERENCES = (
    "A held-out time took no part in the fit. Static OT moves points along straight lines between "
    "optimal pairs and needs no model; previous and next are the neighbouring snapshots unmoved."
)
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #ffffff; --line: #c4c4c4;
  --soft: #f2f4f6; --link: #0b5394; --alert: #8a3b00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #15181c; --line: #4a4f55;
  --soft: #20252b; --link: #8ec5ff; --alert: #ffb27a } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line) }
a { color: var(--link) } nav a { margin-right: 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word }
td.number { text-align: right; white-space: nowrap }
pre { background: var(--soft); padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere }
figure { margin: 1.5rem 0 } img { max-width: 100%; height: auto; background: #fff; padding: .4rem }
.alert { color: var(--alert); font-weight: 600 } summary { cursor: pointer }
@media print { body { max-width: none; font-size: 10pt } nav { display: none }
  figure, tr { break-inside: avoid } img { max-width: 14cm } }
"""
PIXELS = 130
"""Pixels on the page per inch of a picture."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Story:
    """The content of a report.

    Args:
        run: path of its folder.
        about: result of `cfm info` for the run.
        method: card of its preset.
        parts: the three parts of the method, each (family, spec, card).
        scores: distances with their floors, one row each, as from `cfm evaluate`.
        pictures: pictures with their PNG data.
    """

    run: str
    about: Mapping[str, Any]
    method: Card
    parts: Sequence[tuple[str, str, Card]]
    scores: Sequence[Mapping[str, Any]]
    pictures: Sequence[tuple[Picture, bytes]]


def page(story: Story) -> str:
    """Render the report of a run."""
    sections = {
        "Warnings": _warnings(story),
        "What was asked": _asked(story),
        "Data": _data(story),
        "Method": _method(story),
        "Scores": _scores(story),
        "Pictures": join(_figure(picture, data) for picture, data in story.pictures),
        "How to go on": _onward(story),
        "Provenance": _provenance(story),
    }
    links = join(tag("a", title, href=f"#{_anchor(title)}") for title in sections)
    body = join(
        tag("section", tag("h2", title, id=_anchor(title)), inside)
        for title, inside in sections.items()
    )
    title = f"cfm report: {story.run}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width"),
        tag("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    main = tag("main", tag("h1", title), tag("p", _summary(story)), tag("nav", links), body)
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", main), lang="en") + "\n"


def _anchor(title: str) -> str:
    """Link target of a section title."""
    return title.lower().replace(" ", "-")


def _summary(story: Story) -> str:
    """Summarise the run in a sentence."""
    about, metrics = story.about, story.about["metrics"]
    origin, steps = about["provenance"], metrics["steps"]
    done = "" if steps is None else f" in {steps} steps"
    return (
        f"A flow in {metrics['dimension']} dimensions over {len(about['snapshots'])} snapshots of "
        f"{sum(metrics['points'].values())} points in all, fitted{done} by "
        f"{about['recipe']['method']['method']} with cfm {origin['version']} ({origin['date']})."
    )


def _warnings(story: Story) -> Html:
    """List the warnings of the fit."""
    said = story.about["metrics"].get("warnings", [])
    if not said:
        return tag("p", "The fit gave no warning.")
    return tag("ul", *(tag("li", text, class_="alert") for text in said))


def _asked(story: Story) -> Html:
    """Show the command, and the recipe with all defaults."""
    rows = [
        (name.replace("_", "-"), value)
        for section in story.about["recipe"].values()
        for name, value in section.items()
    ]
    recipe = table("Recipe", ("setting", "value"), [(name, word(value)) for name, value in rows])
    command = tag("pre", story.about["provenance"]["command"])
    return join((command, folded("The whole recipe", recipe)))


def _data(story: Story) -> Html:
    """Describe snapshots, features and transform."""
    about = story.about
    rows = [
        (shot["label"], shot["time"], shot["points"], "held out" if shot["held_out"] else "fitted")
        for shot in about["snapshots"]
    ]
    names = list(about["features"])
    shown = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
    chain = about["recipe"]["data"]["transform"]
    source = "Points start as N(0, I). " if about["source"] == "N(0, I)" else ""
    return join(
        (
            table("Snapshots", ("snapshot", "time", "points", "use"), rows),
            tag("p", f"{source}{len(names)} features, transformed by {chain}: {shown}"),
        )
    )


def _method(story: Story) -> Html:
    """Describe the triple in plain words, and what to cite."""
    said = (
        f"{story.method.summary} A method has three parts: how points of one snapshot are paired "
        "with points of the next (coupling), the path on which each pair is joined (interpolant), "
        "and what a network learns from positions on such paths (objective). The network then "
        "carries any point through time, without pairs."
    )
    rows = [
        (family, spec, _in_words(card.summary), card.reference)
        for family, spec, card in story.parts
    ]
    cite = (tag("li", text) for text in story.about["provenance"]["cite"])
    return join(
        (
            tag("p", said),
            tag("p", f"When to use it: {story.method.use}. {story.method.reference}."),
            table("Parts", ("part", "chosen", "meaning", "reference"), rows),
            tag("h3", "Please cite"),
            tag("ul", *cite),
        )
    )


def _in_words(summary: str) -> str:
    """Drop the equation from a summary."""
    return summary.partition(":")[0] if "=" in summary else summary


def _scores(story: Story) -> Html:
    """Tabulate held-out scores with baselines, distances with floors, and all figures."""
    parts: list[Html] = []
    held = story.about["metrics"]["holdout"]
    sides = ("model", "static_ot", "previous", "next")
    if held:
        head = ("snapshot", "distance", *(side.replace("_", " ") for side in sides))
        rows = [
            (s["label"], name.upper(), *(s[f"{side}_{name}"] for side in sides))
            for s in held
            for name in ("w1", "w2")
        ]
        parts += [table("Held out", head, rows), tag("p", REFERENCES)]
    columns = ("metric", "from", "to", "value", "floor")
    rows = [tuple(row[name] for name in columns) for row in story.scores]
    near = [row for row in rows if row[-1] is not None]
    rest = [row[:-1] for row in rows if row[-1] is None]
    parts += [table("Against every snapshot", columns, near), tag("p", FLOOR)]
    parts.append(folded("Energy and shape of paths", table("Paths", columns[:-1], rest)))
    flat = [(name, value) for name, value in _flat(story.about["metrics"], "")]
    parts.append(folded("Every figure of the fit", table("metrics.json", ("name", "value"), flat)))
    return join(parts)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Flatten nested figures into rows."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name} {key}".strip())
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for k, item in enumerate(value):
            yield from _flat(item, f"{name} {k + 1}")
    else:
        yield name, value


def _figure(picture: Picture, data: bytes) -> Html:
    """Inline a picture with its caption."""
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    wide = f"{picture.figure.get_figwidth() * PIXELS:.0f}"
    image = tag("img", alt=f"{picture.title}. {picture.caption}", width=wide, src=source)
    told = tag("figcaption", tag("strong", f"{picture.title}. "), picture.caption)
    return tag("figure", image, told)


def _onward(story: Story) -> Html:
    """List commands that use the run."""
    run = shlex.quote(story.run)
    lines = (
        f"cfm transport {run} DATA -o moved.csv",
        f"cfm interpolate {run} --frames 20 -o paths.csv",
        f"cfm sample {run} -n 1000 -o new.csv",
        f"cfm evaluate {run} -o scores.csv",
        f"cfm plot {run} --format pdf -o pictures",
    )
    return tag("pre", "\n".join(lines))


def _provenance(story: Story) -> Html:
    """List seed, platform, inputs and versions."""
    origin = story.about["provenance"]
    facts = [("seed", str(origin["seed"])), ("date", origin["date"])]
    facts += [(name, value) for name, value in origin["platform"].items()]
    return join(
        (
            table("Run", ("what", "value"), facts),
            table("Inputs", ("file", "SHA-256"), list(origin["inputs"].items())),
            table("Versions", ("package", "version"), list(origin["versions"].items())),
        )
    )
