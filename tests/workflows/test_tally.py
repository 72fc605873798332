import pytest

from cfmcli.workflows.tally import MODEL, REFERENCE, STATIC, Row, tally


def row(time: float, method: str, value: float | None, seed: int = 0) -> Row:
    """A W1 of all points."""
    kind = REFERENCE if method == STATIC else MODEL
    return Row(time, "", method, kind, seed, "w1", value, 10)


def test_methods_are_compared_at_the_same_times() -> None:
    """One that does as static transport does where it could be scored comes to one, not less."""
    rows = [row(1, STATIC, 1.0), row(2, STATIC, 9.0), row(1, "m", 1.0), row(2, "m", None)]
    means = {line["method"]: line for line in tally(rows)["means"]}
    assert means["m"]["w1_over_static_ot"] == 1.0
    assert means["m"]["w1"] == 1.0
    assert means[STATIC]["w1"] == 5.0


def test_a_share_is_of_means_over_seeds_and_times() -> None:
    """Of sums, so that a large distance weighs more; none where static transport has no score."""
    rows = [row(t, STATIC, v) for t, v in ((1, 2.0), (2, 4.0))]
    rows += [row(t, "m", v, s) for t, s, v in ((1, 0, 1.0), (1, 1, 3.0), (2, 0, 2.0), (2, 1, 2.0))]
    (share,) = (line["w1_over_static_ot"] for line in tally(rows)["means"] if line["method"] == "m")
    assert share == pytest.approx((2 + 2) / (2 + 4))
    (alone,) = tally([row(1, "m", 1.0), row(1, STATIC, None)])["means"][:1]
    assert alone["w1_over_static_ot"] is None
