"""Run the main command on the CPU with what JAX answers where there is a GPU.

It is not the GPU's arithmetic: convolutions in a compiled loop are slow on a CPU, so freeze them.
"""

import runpy
import sys

import jax

MEMORY = {"bytes_limit": 8_000_000_000, "peak_bytes_in_use": 1}

jax.config.update("jax_platforms", "cpu")
jax.default_backend = lambda: "gpu"
type(jax.devices()[0]).memory_stats = lambda self: MEMORY
for stage in (jax.stages.Lowered, jax.stages.Compiled):
    stage.cost_analysis = lambda self: None  # XLA counts operations on CPUs alone
sys.argv[0] = "mtl_jax"
runpy.run_module("mtl_jax.main", run_name="__main__")
