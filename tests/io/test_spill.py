"""What waits on disk comes back as it was, and leaves nothing."""

from pathlib import Path

import numpy as np
import pytest

from cfmcli import io


@pytest.mark.parametrize("spared", [1, 2**25])
def test_arrays_come_back_in_any_order(
    spared: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cfmcli.io.spill.SPARED", spared)
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(n, d)) for n, d in ((5, 3), (1, 1), (0, 3), (700, 2))]
    with io.spilling(str(tmp_path / "new" / "out.csv")) as room:
        numbers = [room.put(block) for block in blocks]
        for number, block in list(zip(numbers, blocks, strict=True))[::-1]:
            np.testing.assert_array_equal(room.get(number), block)
        last = room.put(blocks[0])
        np.testing.assert_array_equal(room.get(last), blocks[0])
    assert list(tmp_path.iterdir()) == []
