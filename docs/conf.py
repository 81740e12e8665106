"""How Sphinx builds the documentation: `make docs`."""

import noisyselect

project = "noisyselect"
author = "The noisyselect developers"
release = noisyselect.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "noisyselect"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
# Labels of references in docstrings repeat from class to class.
suppress_warnings = ["ref.citation"]
