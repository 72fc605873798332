import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse

from cfmcli.data.blocks import GRAIN, blocks, by_blocks, gathered
from cfmcli.data.chain import fit_chain
from cfmcli.data.maps import dense


def test_blocks_cover_every_row_once() -> None:
    rows = [k for part in blocks(10, 4) for k in range(part.start, part.stop)]
    assert rows == list(range(10))
    assert list(blocks(0, 4)) == []


@pytest.mark.parametrize("n", [0, 1, GRAIN, GRAIN + 1, 3 * GRAIN + 5])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_a_function_of_rows_is_the_same_by_blocks(n: int, kind: Any) -> None:
    x = np.random.default_rng(n).normal(size=(n, 3))

    def double(rows: Any) -> npt.NDArray[Any]:
        dense = rows.toarray() if sparse.issparse(rows) else rows
        return np.asarray(2 * dense[:, :2])

    assert np.array_equal(by_blocks(double, kind(x)), 2 * x[:, :2])


@pytest.mark.parametrize("start", [0, GRAIN, 2 * GRAIN])
def test_points_are_transformed_alike_in_whatever_company(start: int) -> None:
    """To the last bit, for rows that begin where a block begins."""
    x = np.random.default_rng(0).lognormal(size=(3 * GRAIN + 17, 40))
    chain = fit_chain("log1p,pca:n=7,standardize", x, [f"g{k}" for k in range(40)])
    y, own = chain.forward(x), x[start:]
    assert np.array_equal(chain.forward(own), y[start:])
    assert np.array_equal(chain.inverse(y[start:]), chain.inverse(y)[start:])
    tangent = chain.inverse_tangent(y[start:], y[start:])
    assert np.array_equal(tangent, chain.inverse_tangent(y, y)[start:])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_rows_are_gathered_in_the_order_asked_for(kind: Any) -> None:
    x = kind(np.arange(2.0 * 9000).reshape(9000, 2))
    places = np.array([8999, 0, 4096, 4095, 0, 17])
    found = gathered(x.__getitem__, places, 9000)
    assert type(found) is type(x)
    np.testing.assert_array_equal(dense(found), dense(x)[places])


def test_fitting_a_chain_makes_no_wide_copy() -> None:
    """Not even of float32: neither for moments nor behind the last map."""
    x = np.random.default_rng(0).normal(size=(200_000, 50)).astype(np.float32)
    tracemalloc.start()
    fit_chain("standardize", x, [f"g{k}" for k in range(50)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * x.nbytes  # two blocks of float64; whole copies were four times x and more
