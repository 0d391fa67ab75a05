"""From a finished work folder to one HTML file and a few lines of text. Trains nothing."""

from mtl_jax.report.page import write
from mtl_jax.report.text import summary

__all__ = ["summary", "write"]
