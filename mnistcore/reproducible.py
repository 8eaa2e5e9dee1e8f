"""The same bits on any x86-64 machine with AVX2: pins what NumPy computes with. Import it first.

BLAS and NumPy choose their kernels by the processor and the number of threads,
and different kernels round differently. Both read their choice from the
environment once, when NumPy is imported; so this module sets it, over whatever
the user's shell says, and has to be imported before NumPy is.
"""

import os
import platform
import sys

PINS = {
    "OPENBLAS_CORETYPE": "Haswell",  # AVX2; every later x86-64 processor can run it
    "OPENBLAS_NUM_THREADS": "1",  # parallelism comes from fixed shards instead
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # exp and tanh of AVX-512 round otherwise
}
SYNONYMS = ("GOTO_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_DEFAULT_NUM_THREADS")


def difference() -> str | None:
    """Why this process may give other bits than the committed ones, in one line; None: no reason known."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"a processor of another kind, {platform.machine() or 'unknown'}: results agree in value, not in bits"
    if _numpy_came_first:
        return "NumPy was imported before mnistcore.reproducible: its kernels could not be pinned"
    from numpy._core._multiarray_umath import __cpu_features__ as features

    if not features.get("X86_V3", False):
        return "a processor without AVX2: results agree in value, not in bits"
    return None


def kernels() -> dict[str, str]:
    """What this process computes with: versions, and the kernels that BLAS and NumPy have chosen."""
    import numpy as np
    from numpy._core._multiarray_umath import __cpu_dispatch__ as groups
    from numpy._core._multiarray_umath import __cpu_features__ as features
    from threadpoolctl import threadpool_info

    blas = next((found for found in threadpool_info() if found["user_api"] == "blas"), {})
    return {
        "numpy": np.__version__,
        "blas": f"{blas.get('internal_api', 'unknown')} {blas.get('version', '')}".strip(),
        "blas kernel": str(blas.get("architecture", "unknown")),
        "blas threads": str(blas.get("num_threads", "unknown")),
        "simd": " ".join(group for group in groups if features.get(group)) or "baseline",
        "processor": platform.machine(),
    }


_numpy_came_first = "numpy" in sys.modules and any(os.environ.get(name) != pin for name, pin in PINS.items())
os.environ.update(PINS)
for _name in SYNONYMS:
    os.environ.pop(_name, None)
