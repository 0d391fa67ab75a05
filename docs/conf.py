"""Configure Sphinx for `make docs`, which treats warnings as errors."""

from importlib import metadata

project = "mtl_jax"
author = "the mtl_jax authors"
release = metadata.version("mtl_jax")
extensions = [
    "myst_nb",  # myst_parser, and notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = f"mtl_jax {release}"
exclude_patterns = ["_build"]
myst_heading_anchors = 4
# Notebooks are committed without outputs, and run in the build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600  # seconds for each cell
nb_execution_raise_on_error = True
nb_merge_streams = True  # the lines that a cell prints are one block
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes as a list: autodoc describes those of named tuples again
# Links to files of the repository outside docs/ are not pages; csv is not a known language.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
default_role = "code"
nitpicky = False
