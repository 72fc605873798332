from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmcli.data.times import Timeline, map_times, parse_map
from cfmcli.errors import ConfigError, DataError

CLOCKS = (
    st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6, unique=True)
    .map(sorted)
    .filter(lambda times: all(b - a > 1e-3 for a, b in pairwise(times)))
    .map(lambda times: Timeline(tuple(times), tuple(map(str, times))))
)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["d10", "d2"], {"d2": 2.0, "d10": 10.0}),
        (["E8.5", "E7.5", "E10"], {"E7.5": 7.5, "E8.5": 8.5, "E10": 10.0}),
        (["0", "2.5", "1"], {"0": 0.0, "1": 1.0, "2.5": 2.5}),
        (["-1", "1e1"], {"-1": -1.0, "1e1": 10.0}),
        (["48h", "3dpi"], {"48h": 2.0, "3dpi": 3.0}),
        (["90 min", "1h", "1d"], {"1h": 1 / 24, "90 min": 1.5 / 24, "1d": 1.0}),
        (["24hpf", "12hpf"], {"12hpf": 12.0, "24hpf": 24.0}),
        (["1w", "10 days"], {"1w": 7.0, "10 days": 10.0}),
        (["Day 2", "day_7"], {"Day 2": 2.0, "day_7": 7.0}),
        (["stage 3", "stage 12"], {"stage 3": 3.0, "stage 12": 12.0}),
        (["36h", "12h"], {"12h": 12.0, "36h": 36.0}),
        (["day0", "day3", "day-2"], {"day-2": -2.0, "day0": 0.0, "day3": 3.0}),
        (["d_0", "d_2", "d_-1"], {"d_-1": -1.0, "d_0": 0.0, "d_2": 2.0}),
        (["day 0", "day -1"], {"day -1": -1.0, "day 0": 0.0}),
        (["T0", "T+1", "T-1"], {"T-1": -1.0, "T0": 0.0, "T+1": 1.0}),
        (["E-0.5d", "E2d"], {"E-0.5d": -0.5, "E2d": 2.0}),
        (["day-2", "day-1"], {"day-1": 1.0, "day-2": 2.0}),
        (["day--2", "day-0", "day-3"], {"day--2": -2.0, "day-0": 0.0, "day-3": 3.0}),
        (["day -2", "day 3"], {"day -2": -2.0, "day 3": 3.0}),
    ],
    ids=str,
)
def test_labels_say_their_time(labels: list[str], expected: dict[str, float]) -> None:
    """The number that a label contains, its real spacing, in days where units differ."""
    found = map_times(labels)
    assert list(found.labels) == list(expected)
    assert found.times == pytest.approx(list(expected.values()))
    assert all(label in str(found) for label in labels)


@pytest.mark.parametrize(
    "labels",
    [
        ["early", "late"],
        ["d2", "E7.5"],
        ["d2 r1", "d3 r2"],
        ["d2", "D2"],
        ["1", "1.0"],
        ["d2", "unknown"],
        ["1", "nan"],
        ["0", "inf"],
        ["3mo", "2d"],
        ["day-2", "day 3"],
        ["day-1", "day_2", "day3"],
    ],
    ids=str,
)
def test_labels_that_do_not_say_are_listed(labels: list[str]) -> None:
    """An error that lists the labels and names both ways out."""
    with pytest.raises(DataError) as caught:
        map_times(labels)
    assert all(label in str(caught.value) for label in labels)
    assert "--time-map" in str(caught.value)
    assert "--time-order" in str(caught.value)


def test_ordered_categories_rank_what_has_no_number() -> None:
    """The order of categories gives 0, 1, 2; numbers in that order keep their spacing."""
    assert map_times(["early", "mid", "late"], ranked=True).times == (0.0, 1.0, 2.0)
    assert map_times(["early", "mid", "late"], ranked=True).labels == ("early", "mid", "late")
    assert map_times(["d2", "d10"], ranked=True).times == (2.0, 10.0)


def test_the_order_of_categories_beats_the_numbers() -> None:
    """Where the two contradict, or numbers coincide, the categories decide."""
    assert map_times(["w9", "w1"], ranked=True).labels == ("w9", "w1")
    assert map_times(["w9", "w1"], ranked=True).times == (0.0, 1.0)
    assert map_times(["2 d", "2d"], ranked=True).times == (0.0, 1.0)


def test_given_times_and_order_decide() -> None:
    """--time-map sets times, --time-order ranks, whatever the labels contain."""
    found = map_times(["d2", "d10"], given=["d10=0.5", "d2=4"])
    assert (found.labels, found.times) == (("d10", "d2"), (0.5, 4.0))
    found = map_times(["b", "a", "c"], order=["c", "a", "b"])
    assert (found.labels, found.times) == (("c", "a", "b"), (0.0, 1.0, 2.0))
    assert parse_map(["a=b=3", " x = 1e1 "]) == {"a=b": 3.0, "x": 10.0}


@pytest.mark.parametrize(
    ("given_", "order", "message"),
    [
        (["d2=1", "d1O=2", "d10=3"], [], "Did you mean 'd10'"),
        (["d2=1"], [], "no time for d10"),
        (["d2=1", "d10=1"], [], "must differ"),
        (["d2"], [], "label=time"),
        (["d2=soon"], [], "label=time"),
        (["d2=1", "d10=nan"], [], "d10"),
        (["d2=1", "d10=inf"], [], "d10"),
        ([], ["d2"], "no time for d10"),
        ([], ["d2", "d10", "d11"], "d11"),
    ],
    ids=str,
)
def test_given_times_that_do_not_fit(given_: list[str], order: list[str], message: str) -> None:
    """Unknown, missing, repeated, unreadable and endless times are usage errors."""
    with pytest.raises(ConfigError, match=message):
        map_times(["d2", "d10"], given=given_, order=order)


@given(CLOCKS, st.floats(0, 1))
def test_the_inner_clock_and_the_clock_are_inverse(line: Timeline, share: float) -> None:
    """clock(inner(tau)) = tau and inner(clock(s)) = s over the whole range."""
    first, last = line.times[0], line.times[-1]
    tau = min(first + share * (last - first), last)
    assert line.clock(line.inner(tau)) == pytest.approx(tau, abs=1e-9 * max(1, abs(tau)))
    s = share * line.segments
    assert line.inner(line.clock(s)) == pytest.approx(s, abs=1e-6)


@given(CLOCKS)
def test_snapshots_stand_at_whole_inner_times(line: Timeline) -> None:
    """Each gap takes one unit of the inner clock, and the clock is monotone."""
    assert [line.inner(tau) for tau in line.times] == list(range(len(line.times)))
    assert sum(map(line.span, range(line.segments))) == pytest.approx(
        line.times[-1] - line.times[0]
    )
    middles = [line.inner((a + b) / 2) for a, b in pairwise(line.times)]
    assert middles == pytest.approx([k + 0.5 for k in range(line.segments)], abs=1e-6)


@given(CLOCKS, st.floats(1e-6, 1e6))
def test_outside_is_refused(line: Timeline, far: float) -> None:
    """Nothing was learnt outside the snapshots, and the message says where they are."""
    width = line.times[-1] - line.times[0]
    for tau in (line.times[0] - far * width, line.times[-1] + far * width):
        with pytest.raises(ConfigError, match="outside"):
            line.inner(tau)
    with pytest.raises(ConfigError, match="outside"):
        line.inner(float("nan"))


def test_times_are_typed_as_numbers_or_labels() -> None:
    """A label of the data means its snapshot; other words are refused with the list."""
    line = Timeline((2.0, 10.0), ("d2", "d10"))
    assert line.parse("d10") == 10.0
    assert line.parse("3.5") == 3.5
    with pytest.raises(ConfigError, match=r"Did you mean 'd10'.*Known: d2, d10"):
        line.parse("d100")
