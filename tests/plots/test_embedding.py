import numpy as np
import pytest
from scipy.optimize import linprog

from cfmcli.plots.clouds import smoothed
from cfmcli.plots.embedding import NEIGHBOURS, Embedding


@pytest.fixture
def cells() -> np.ndarray:
    """Cells in three dimensions."""
    return np.random.default_rng(0).normal(size=(600, 3))


def test_a_cell_stands_where_it_stands(cells: np.ndarray) -> None:
    """Whatever the embedding, also as single precision stores it; cells alike share a place."""
    places = np.random.default_rng(1).normal(size=(600, 2))
    shown = Embedding("X_umap", cells, places)
    np.testing.assert_allclose(shown.place(cells, 0.0), places, atol=1e-12)
    stored = cells.astype(np.float32).astype(float)
    np.testing.assert_allclose(shown.place(stored, 0.0), places, atol=1e-12)
    twice = Embedding("X_umap", np.repeat(cells, 2, axis=0), np.vstack((places, -places)))
    pairs = np.vstack((places, -places)).reshape(600, 2, 2).mean(axis=1)
    np.testing.assert_allclose(twice.place(cells, 0.0), pairs, atol=1e-12)


def inside(x: np.ndarray, near: np.ndarray) -> bool:
    """Whether a point lies in the convex hull of others, by linear programming."""
    system = np.vstack((near.T, np.ones(len(near))))
    found = linprog(np.zeros(len(near)), A_eq=system, b_eq=np.append(x, 1), bounds=(0, None))
    return bool(found.success)


def test_a_linear_embedding_is_reproduced(cells: np.ndarray) -> None:
    """Places of points among their nearest cells, and velocities, are those of the linear map."""
    rng = np.random.default_rng(2)
    linear = rng.normal(size=(3, 2))
    shown = Embedding("X_pca", cells, cells @ linear)
    x = 0.5 * rng.normal(size=(80, 3))
    order = np.linalg.norm(x[:, None] - cells, axis=2).argsort(axis=1)[:, :NEIGHBOURS]
    among = np.array([inside(p, cells[near]) for p, near in zip(x, order, strict=True)])
    assert among.sum() > 60
    np.testing.assert_allclose(shown.place(x, 0.0)[among], (x @ linear)[among], atol=2e-4)
    v = rng.normal(size=3) + np.zeros_like(x)
    middle = np.linalg.norm(x, axis=1) < 0.5
    pushed = shown.push(x, v, 0.0)[middle]
    assert middle.sum() > 10
    np.testing.assert_allclose(pushed, (v @ linear)[middle], rtol=0.02, atol=0.02)


def test_nothing_leaves_the_cells(cells: np.ndarray) -> None:
    """A point far away stands among the places of its nearest cells."""
    places = np.random.default_rng(3).uniform(size=(600, 2))
    far = Embedding("X_umap", cells, places).place(50 * cells[:40], 0.0)
    assert ((far >= 0) & (far <= 1)).all()


def test_what_stands_still_is_drawn_so(cells: np.ndarray) -> None:
    """No velocity, no arrow; turned time, turned arrow on a linear embedding's inside."""
    shown = Embedding("X_umap", cells, cells[:, :2])
    assert not shown.push(cells[:9], np.zeros((9, 3)), 0.0).any()
    middle = cells[np.linalg.norm(cells, axis=1) < 0.5]
    v = np.ones_like(middle)
    there, back = shown.push(middle, v, 0.0), shown.push(middle, -v, 0.0)
    np.testing.assert_allclose(there, -back, atol=0.05)


def test_few_cells_are_enough() -> None:
    """Also one, and fewer than the neighbours that are asked for."""
    one = Embedding("X_umap", np.zeros((1, 2)), np.ones((1, 2)))
    assert one.place(np.array([[3.0, 4.0]]), 0.0).tolist() == [[1.0, 1.0]]
    two = Embedding("X_umap", np.array([[0.0], [1.0]]), np.array([[0.0, 0.0], [2.0, 4.0]]))
    np.testing.assert_allclose(two.place(np.array([[0.25]]), 0.0), [[0.5, 1.0]], atol=1e-5)


def test_smoothing_leaves_ends_and_straight_lines() -> None:
    """Running means of even steps are those steps; what zigzags zigzags less."""
    line = np.linspace(0, 1, 40)[:, None, None] * np.ones((1, 3, 2))
    np.testing.assert_allclose(smoothed(line), line, atol=1e-12)
    rough = line + np.random.default_rng(0).normal(size=line.shape)
    np.testing.assert_allclose(smoothed(rough)[[0, -1]], rough[[0, -1]], atol=1e-12)
    assert np.abs(np.diff(smoothed(rough), axis=0)).mean() < np.abs(np.diff(rough, axis=0)).mean()
