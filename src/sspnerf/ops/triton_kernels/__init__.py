"""GPU kernels. Arguments are checked by the callers in `ops`, never here.

Each family's file has functions of the same signatures as its twin in `numba_kernels`, over tensors
instead of arrays; they start the kernels, whose names begin with an underscore. Each output element
is written by one program and in one order: no atomics, the same bits from each run. Grids have one
axis. `no_type_check` keeps the runtime shape hook of the tests out of code that it cannot read.
"""
