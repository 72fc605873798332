"""The table of the suite: parts add up, nothing is measured twice, means are over seeds."""

import re
from multiprocessing import get_context
from pathlib import Path

from tests.statistical import page
from tests.statistical.figures import Figures


def _never() -> None:
    raise AssertionError("measured twice")


def test_parts_add_up_in_one_table(tmp_path: Path) -> None:
    """A later part knows the rows, the tests and the misses of the earlier ones."""
    path = tmp_path / "table.csv"
    first = Figures(path)
    first.add("a, seed 0: W2", 1.0, published="2, by them", floor=0.5, bound="<= 2")
    first.close("test_a[0]", True)
    first.close("test_silent", True)
    second = Figures(path)
    assert second.once("a, seed 0: W2", _never).floor == 0.5
    second.add("a, seed 1: W2", 3.0, published="2, by them", floor=0.7, bound="<= 2")
    second.close("test_a[1]", False)
    third = Figures(path)
    assert third.passed == {"test_a[0]": True, "test_silent": True, "test_a[1]": False}
    assert third.missed() == ["test_a[1]"]
    assert third.rows == second.rows
    line = next(line for line in third.text().splitlines() if line.startswith("a: W2"))
    assert re.split(r" {2,}", line) == ["a: W2", "2", "2 +- 1.4", "2, by them", "0.6", "<= 2"]
    assert third.text().index("missed:") < third.text().index("test_a[1]")
    assert path.read_text().count("test,passed") == 1


def test_a_part_that_is_cut_off_leaves_whole_tests_only(tmp_path: Path) -> None:
    """Rows of a test that did not end are not in the file."""
    path = tmp_path / "table.csv"
    Figures(path).add("b: W2", 1.0)
    assert not path.exists()
    assert Figures(path).text() == ""


def test_processes_at_work_together_share_what_each_measures(tmp_path: Path) -> None:
    """What one has finished the other knows; what both have finished stands there once."""
    one, other = (Figures(tmp_path / "table.csv") for _ in range(2))
    one.add("a, seed 0: W2", 1.0)
    one.close("test_a[0]", True)
    assert other.known("test_a[0]")
    assert not other.known("test_a[1]")
    other.add("a, seed 1: W2", 2.0)
    other.close("test_a[1]", True)
    assert one.once("a, seed 1: W2", _never).ours == 2.0
    assert list(Figures(one.path).rows) == list(one.rows)


def _many(path: Path, process: int) -> None:
    figures = Figures(path)
    for k in range(50):
        figures.add(f"{process}, seed {k}: W2", k)
        figures.close(f"test[{process}-{k}]", True)


def test_rows_that_are_added_at_once_stay_whole(tmp_path: Path) -> None:
    """Several processes append, each a test at a time: no row is lost or mixed."""
    path, context = tmp_path / "table.csv", get_context("fork")
    processes = [context.Process(target=_many, args=(path, k)) for k in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = Figures(path)
    assert sorted(found.passed) == sorted(f"test[{k}-{n}]" for k in range(3) for n in range(50))
    assert len(found.rows) == 150
    assert path.read_text().count("test,passed") == 1


def test_the_page_of_published_figures_is_the_table() -> None:
    """The README shows what `results.csv` holds; `python -m tests.statistical.page` makes it so."""
    assert page.section(Figures(page.RESULTS)) in page.README.read_text(encoding="utf-8")


def test_the_text_of_the_results_is_that_of_their_table() -> None:
    """`results.txt` is `results.csv` for readers."""
    text = page.RESULTS.with_suffix(".txt").read_text(encoding="utf-8")
    assert text == Figures(page.RESULTS).text() + "\n"
