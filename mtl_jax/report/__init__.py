"""From a finished work folder to one HTML file and a few lines of text. Trains nothing."""

from mtl_jax.report.console_summary import summary
from mtl_jax.report.page import write

__all__ = ["summary", "write"]
