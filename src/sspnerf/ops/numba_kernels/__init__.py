"""Compiled CPU kernels. Arguments are checked by the callers in `ops`, never here.

No kernel allocates. Each output element is written by one thread, so results do not depend on the
number of threads. `no_type_check` keeps the runtime shape hook of the tests out of code that it
cannot read.
"""
