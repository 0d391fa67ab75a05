"""Simulated mammograms with known truth: tissue, masses, physics, files."""
