"""The person's face at rest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class FaceMesh:
    """Triangles in world space (head space, cm)."""

    vertices: NDArray[np.float32]
    """Corner positions, cm. Shape (vertices, 3)."""
    triangles: NDArray[np.int32]
    """Three vertex indices each. Shape (triangles, 3)."""
