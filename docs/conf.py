"""How Sphinx builds the documentation: `make docs`."""

import noisyselect

project = "noisyselect"
author = "The noisyselect developers"
release = noisyselect.__version__
extensions = [
    "myst_parser",
    "numpydoc",  # its references may have the same number in every docstring
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "noisyselect"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
