"""What the kernels' arguments are."""

import triton.language as tl

# Of a tensor's first number.
Pointer = tl.tensor
# One number, the same in all programs.
Scalar = tl.tensor
# Many numbers: what one program works on at a time.
Block = tl.tensor
