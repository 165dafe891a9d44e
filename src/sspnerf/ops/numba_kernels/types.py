"""What the kernels' arguments are, and which liberties their arithmetic may take."""

import numpy as np
from numpy.typing import NDArray

# Not-a-number is not optimised away (`nnan` is left out): a position that is not a number reads
# node 0 instead of memory that is not ours.
MATH = {"contract", "reassoc", "nsz", "arcp"}

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Bytes = NDArray[np.uint8]
