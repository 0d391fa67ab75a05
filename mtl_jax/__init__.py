"""Multi-task transfer learning for malignant and benign breast masses (Samala et al. 2017), in JAX.

Research only. Rooms are imported by name, for example `mtl_jax.roc`; nothing is imported here.
"""
