"""Write the HTML report and the text summary of a finished work folder."""

from mtl_jax.report.console_summary import summary
from mtl_jax.report.page import write

__all__ = ["summary", "write"]
