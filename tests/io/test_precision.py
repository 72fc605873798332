"""Annotations in single precision, by their place and not by their name."""

import numpy as np
import pandas as pd

from cfmcli.io.precision import decimal


def test_columns_of_one_name_are_each_their_own() -> None:
    """Two columns called q, one in float32: both stay, with the numbers that were meant."""
    obs = pd.DataFrame({"day": np.array([0.1, 0.7], np.float32), "q": [1, 2]})
    obs = pd.concat([obs, obs[["day"]].rename(columns={"day": "q"})], axis=1)
    found = decimal(obs)
    assert list(found.columns) == ["day", "q", "q"]
    assert found.iloc[:, 0].tolist() == found.iloc[:, 2].tolist() == [0.1, 0.7]
    assert found.iloc[:, 1].tolist() == [1, 2]
    assert obs["day"].dtype == np.float32
