"""The same bits on any x86-64 machine with AVX2: pins what NumPy computes with. Import it first.

BLAS and NumPy choose their kernels by the processor and the number of threads,
and different kernels round differently. Both read their choice from the
environment once, when NumPy is imported; so this module sets it, and has to be
imported before NumPy is.
"""

import os

os.environ["OPENBLAS_CORETYPE"] = "Haswell"  # AVX2; Zen picks the same kernels
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # parallelism comes from fixed shards instead
