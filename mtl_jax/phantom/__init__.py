"""Simulated mammograms with known truth: tissue, masses, physics and files. Knows no collections."""
