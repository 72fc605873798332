"""What the inverse of a chain gives back is told in words."""

import numpy as np
import pytest

from cfmcli.data.chain import fit_chain

COUNTS = np.random.default_rng(0).poisson(5, (50, 6)).astype(float)


@pytest.mark.parametrize(
    ("chain", "units", "total"),
    [
        ("standardize", "data units", None),
        ("normalize,log1p", "data normalised to 10,000 a point", 10_000),
        ("normalize:target=50,log1p,pca:n=6", "data normalised to 50 a point", 50),
    ],
)
def test_units_are_those_of_the_inverse(chain: str, units: str, total: float | None) -> None:
    """Totals of points that come back are the total that is told."""
    fitted = fit_chain(chain, COUNTS, [f"g{k}" for k in range(6)])
    assert fitted.units == units
    back = fitted.inverse(fitted.forward(COUNTS)).sum(axis=1)
    np.testing.assert_allclose(back, COUNTS.sum(axis=1) if total is None else total)
