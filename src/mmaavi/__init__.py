"""mmAAVI: mosaic integration of single-cell data (Rong et al. 2024, Briefings in Bioinformatics, bbae540)."""

import os

__version__ = "0.1.0"

# Threads of torch spin for milliseconds while they wait for one another: where other work holds a core, two threads then take
# two to ten times as long as one. These spin for microseconds, which costs little where cores are free
# (tests/benchmarks/threads.py). Read when torch is loaded, in the workflow's jobs too.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
