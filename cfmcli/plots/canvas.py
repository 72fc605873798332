"""Canvas: sizes, colours, fonts and file formats that all pictures share."""

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cfmcli.data.arrays import Array, IntArray
from cfmcli.errors import CfmWarning

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.5, 7.2
"""Width of a printed column and of a page, in inches."""
FORMATS = (".png", ".svg", ".pdf")
DARK, PALE = "#333333", "#C8C8C8"
CLASSES = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"),
)
"""Colours that colour-blind readers can distinguish.

Reference: Okabe & Ito (2002), jfly.uni-koeln.de/color
"""
MARKERS, DASHES = ("o", "^", "s", "D"), ("-", "--", ":", "-.")
LINE = 0.14
"""Height of a line of text, in inches."""
LETTERS = 16
"""Number of letters that fit into an inch."""
UNEVEN = 3.0
"""Ratio of longest to shortest gap above which colours follow the order of times."""
SHOWN = 1500
FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR"),
    *("Source Han Sans SC", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Yu Gothic"),
    *("Malgun Gothic", "Arial Unicode MS", "Droid Sans Fallback", "WenQuanYi Zen Hei", "IPAGothic"),
)
"""Fonts with Chinese, Japanese and Korean letters, as systems have them."""
_STYLE: Any = {
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "cfm",
    "text.parse_math": False,
}
_UNDATED: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Picture:
    """A picture of a run.

    Args:
        name: name of the picture in options.
        title: what it shows, in a few words.
        caption: how it was made, and how to read it.
        figure: the Matplotlib figure.
    """

    name: str
    title: str
    caption: str
    figure: "Figure"

    def encoded(self, kind: str = ".png") -> bytes:
        """Encode the picture as a file, reproducibly.

        Args:
            kind: suffix of the file, one of FORMATS.
        """
        out = io.BytesIO()
        with style(), warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            self.figure.savefig(out, format=kind[1:], dpi=300, metadata=_UNDATED[kind])
        _say_what_is_boxes([str(item.message) for item in heard])
        return out.getvalue()


def _say_what_is_boxes(heard: Sequence[str]) -> None:
    """Warn of letters that no font has, of which Matplotlib warns one by one."""
    found = [re.match(r"Glyph (\d+) ", message) for message in heard]
    letters = sorted({chr(int(glyph[1])) for glyph in found if glyph})
    if letters:
        warnings.warn(
            f"Pictures have boxes for the letters {''.join(letters)}, which no font has that is "
            "known here: install one that does, such as Noto Sans CJK.",
            CfmWarning,
            stacklevel=3,
        )


@contextmanager
def style() -> Iterator[None]:
    """Context with fonts for print, independent of the user's Matplotlib settings."""
    import matplotlib as mpl
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in FALLBACKS if name in known)]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE | {"font.family": families})
        yield


def canvas(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> "tuple[Figure, list[Axes]]":
    """Create an empty figure and its panels, row by row.

    Args:
        width: in inches.
        height: in inches.
        rows: number of rows of panels.
        columns: number of panels in a row.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    return figure, list(panels.ravel())


def dots(axes: "Axes", place: Array, size: float, **more: Any) -> "PathCollection":
    """Draw points of shape (n, 2) without outlines."""
    return axes.scatter(place[:, 0], place[:, 1], s=size, **({"lw": 0} | more))


def explain(figure: "Figure", text: str) -> None:
    """Write an explanation below the panels, wrapped to fit."""
    said = wrapped(text, figure.get_figwidth() * 18.5)
    figure.supxlabel(said, x=0.01, ha="left", fontsize=7, color=DARK)
    _grow(figure, 1 + said.count("\n"))


def wrapped(text: str, letters: float) -> str:
    """Wrap a text to a maximum line length, breaking long names."""
    return "\n".join(textwrap.wrap(text, int(letters)))


@dataclass(frozen=True)
class Clock:
    """Colour map of clock times, suitable for colour-blind readers.

    Colours follow the clock, or the order of times if gaps differ so much that early times would
    look alike.

    Args:
        times: times of the snapshots, ascending.
    """

    times: tuple[float, ...]

    @property
    def ranked(self) -> bool:
        """Whether colours follow the order of times."""
        gaps = [after - before for before, after in pairwise(self.times)]
        return len(gaps) > 1 and max(gaps) > UNEVEN * min(gaps)

    @property
    def caption(self) -> str:
        """Note on how to read the colours, if needed."""
        return "Colours follow the order of times, not their distance." if self.ranked else ""

    def share(self, time: float) -> float:
        """Position of a time along the colour map, in [0, 1]."""
        low, high = self.times[0], self.times[-1]
        if not self.ranked:
            return (time - low) / ((high - low) or 1.0)
        ranks = np.linspace(0, 1, len(self.times))
        return float(np.interp(time, self.times, ranks))

    def colour(self, time: float) -> Any:
        """Colour of a time; the palest end of the map is not used."""
        import matplotlib as mpl

        return mpl.colormaps["viridis"](0.92 * self.share(time))


def legend(figure: "Figure") -> None:
    """Add a legend of the first panel above all panels, in as many columns as fit."""
    handles, names = figure.axes[0].get_legend_handles_labels()
    if not names:
        return
    width = figure.get_figwidth()
    columns = int(width / (0.5 + max(map(len, names)) / LETTERS))
    columns = min(len(names), max(columns, 1))
    names = [wrapped(name, (width - 0.5) * LETTERS) for name in names]
    _grow(figure, -(-sum(1 + name.count("\n") for name in names) // columns))
    made = figure.legend(
        *(handles, names),
        ncols=columns,
        loc="outside upper center",
        markerscale=2,
        handlelength=1.2,
        columnspacing=1.2,
    )
    for handle in filter(None, made.legend_handles):
        handle.set_alpha(1.0)


def _grow(figure: "Figure", lines: int) -> None:
    """Enlarge the figure for lines of text, so that the panels keep their size."""
    figure.set_figheight(figure.get_figheight() + LINE * lines)


def some(n: int, most: int = SHOWN) -> IntArray:
    """Indices of at most `most` of n points, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


@dataclass(frozen=True)
class Look:
    """Colour, marker and line style of a class; the latter two change every eight classes."""

    colour: str
    marker: str
    dash: str


def looks(
    names: Sequence[str], colours: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Look]:
    """Assign a look to each class.

    Args:
        names: the classes, in their order.
        colours: colours from the data file, used only if every class has one.
    """
    from matplotlib.colors import is_color_like

    if all(is_color_like(colours.get(name)) for name in names):
        return {name: Look(colours[name], MARKERS[0], DASHES[0]) for name in names}
    rounds = len(MARKERS)
    return {
        name: Look(
            CLASSES[k % len(CLASSES)],
            MARKERS[k // len(CLASSES) % rounds],
            DASHES[k // len(CLASSES) % rounds],
        )
        for k, name in enumerate(names)
    }
