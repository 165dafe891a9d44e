"""Benchmarks: one command each, figures taken in one run.

python -m bench.render | train | memory | kernels | latency --clip CLIP [--size PX] [--json]
python -m bench.prepare VIDEO...
"""

import os

# Before torch is loaded, as the command line does it (sspnerf.cli).
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
