from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from cfmcli import plots
from cfmcli.errors import CfmWarning
from cfmcli.plots.canvas import (
    CLASSES,
    COLUMN,
    FORMATS,
    Clock,
    Picture,
    canvas,
    explain,
    legend,
    looks,
    some,
    style,
)


def lightness(colour: tuple[float, ...]) -> float:
    """Lightness L* of an sRGB colour, 0 black to 100 white (CIE 1976)."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(116 * np.cbrt(np.dot((0.2126, 0.7152, 0.0722), linear)) - 16)


@pytest.mark.parametrize("times", [(0, 1, 2.5, 5), (0, 2, 5, 22), (0, 1), (0, 0.01, 0.02, 100)])
def test_each_time_can_be_told_from_the_next(times: tuple[float, ...]) -> None:
    """Later is lighter, by a step that is seen, however uneven the gaps; white is never reached."""
    shades = [lightness(Clock(times).colour(time)) for time in times]
    assert all(after > before + 10 for before, after in pairwise(shades))
    assert shades[-1] < 92


def test_colours_follow_the_clock_where_it_is_even_enough() -> None:
    """And the order of times where it is not, which is said."""
    even, uneven = Clock((0.0, 1.0, 3.0)), Clock((0.0, 2.0, 5.0, 22.0))
    assert [even.share(t) for t in (1.0, 2.0)] == pytest.approx([1 / 3, 2 / 3])
    assert even.caption == ""
    assert [uneven.share(t) for t in uneven.times] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert uneven.share(13.5) == pytest.approx(5 / 6)
    assert "order" in uneven.caption


def test_classes_look_different() -> None:
    """Thirty-two of them, in colours made for it."""
    found = looks([str(k) for k in range(32)])
    assert len(set(found.values())) == 32
    assert {look.colour for look in found.values()} == set(CLASSES)


def picture(words: int = 3) -> Picture:
    """A picture with a legend and a caption."""
    with style():
        figure, (axes,) = canvas(COLUMN, 2.0)
        for k in range(words):
            axes.plot([0, 1], [k, k + 1], label=f"class number {k}")
        axes.set(xlabel="x", ylabel="y")
        legend(figure)
        explain(figure, "A caption that is long enough to be broken into several lines. " * 3)
    return Picture("p", "Title", "caption", figure)


def test_formats_are_what_they_say_and_the_same_twice() -> None:
    """PNG signature and size, SVG as XML without scripts or links, PDF header; equal bytes."""
    found = {kind: picture().encoded(kind) for kind in FORMATS}
    assert found == {kind: picture().encoded(kind) for kind in FORMATS}
    assert found[".png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(found[".png"][16:20], "big") == COLUMN * 300
    root = ET.fromstring(found[".svg"].decode())
    assert root.tag.endswith("svg")
    assert not [item for item in root.iter() if item.tag.endswith("script")]
    assert found[".pdf"].startswith(b"%PDF-")
    assert found[".pdf"].rstrip().endswith(b"%%EOF")
    for data in found.values():
        assert b"Matplotlib" not in data
        assert b"CreationDate" not in data


def test_a_picture_does_not_depend_on_the_user_s_style() -> None:
    """Matplotlib's own settings change nothing."""
    import matplotlib as mpl

    before = picture().encoded()
    with mpl.rc_context({"font.size": 22, "axes.facecolor": "red", "svg.hashsalt": "mine"}):
        assert picture().encoded() == before


@pytest.mark.parametrize("words", [2, 12])
def test_words_are_readable_and_inside(words: int) -> None:
    """No text is smaller than 7 points, none leaves the picture, legend and caption are apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    figure = picture(words).figure
    with style():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        box = figure.get_tightbbox()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    assert min(float(t.get_fontsize()) for t in texts) >= 7
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= figure.get_figwidth()
    assert box.y1 <= figure.get_figheight()
    (names,), (said,) = figure.legends, [t for t in texts if "caption" in t.get_text()]
    panel = figure.axes[0].get_tightbbox()
    assert panel is not None
    assert said.get_window_extent().y1 < panel.y0
    assert panel.y1 < names.get_window_extent().y0


def test_names_are_drawn_as_they_are() -> None:
    """No name of a gene or class is a formula, not even half of one."""
    with style():
        figure, (axes,) = canvas(COLUMN, 2)
        axes.set_title("$x^{$ and $1$")
    assert b"$x^{$ and $1$" in Picture("name", "title", "caption", figure).encoded(".svg")


def titled(title: str) -> bytes:
    """A picture with a title, as a file."""
    with style():
        figure, (axes,) = canvas(COLUMN, 2)
        axes.set_title(title)
    return Picture("name", "title", "caption", figure).encoded(".svg")


def test_letters_that_no_font_has_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, in one warning; a font of the system that has them is used where there is one."""
    monkeypatch.setattr(plots.canvas, "FALLBACKS", ("No Such Font",))
    with pytest.warns(CfmWarning, match=r"letters ᶁ細胞, .* Noto Sans CJK") as heard:
        boxes = titled("細胞 ᶁ cell 細")
    assert len(heard) == 1
    monkeypatch.setattr(plots.canvas, "FALLBACKS", ("No Such Font", "STIXGeneral"))
    with pytest.warns(CfmWarning, match="letters 細胞, "):
        assert titled("細胞 ᶁ cell 細") != boxes
    assert b"STIXGeneral" in titled("ᶁ")


@pytest.mark.parametrize(("n", "most"), [(10, 4), (4, 10), (1, 1)])
def test_some_are_chosen_evenly(n: int, most: int) -> None:
    """Distinct, ascending, both ends, no more than asked for."""
    found = some(n, most).tolist()
    assert found == sorted(set(found))
    assert len(found) == min(n, most)
    assert (found[0], found[-1]) == (0, n - 1)
