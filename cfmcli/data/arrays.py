"""Arrays: shared array types."""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy import sparse

    Matrix: TypeAlias = npt.NDArray[Any] | sparse.csr_matrix

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]
