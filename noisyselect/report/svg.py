"""A plot as SVG inside a page: small, in the font of the page, in colours that follow its theme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
# What `report.css` calls the colours that plots draw with.
_VARIABLES = {
    "#000000": "currentColor",
    "#0072b2": "var(--blue)",
    "#d55e00": "var(--red)",
    "#009e73": "var(--green)",
    "#cc79a7": "var(--purple)",
    "#56b4e9": "var(--sky)",
    "#e69f00": "var(--orange)",
    "#737373": "var(--muted)",
    "#999999": "var(--muted)",
    "#e6e6e6": "var(--faint)",
}
_COLOUR = re.compile("|".join(_VARIABLES))
# An id as attributes refer to it: xlink:href="#id" and clip-path="url(#id)".
_REFERENCE = re.compile(r"^(?P<before>(?:url\()?)#(?P<id>[\w.-]+)")
# Plots are drawn that much smaller than they are shown, for they write with 9 and 10 points.
_SCALE = 1.25
_STYLE = {
    # Text stays text: it can be read aloud, searched, and is small.
    "svg.fonttype": "none",
    "svg.hashsalt": "noisyselect",
    # Names of classes are no formulas.
    "text.parse_math": False,
    # One name: the page has another font in any case.
    "font.family": "DejaVu Sans",
    "axes.titlepad": 8,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.linewidth": 0.8,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "axes.edgecolor": "#999999",
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
}


def draw(
    plot: Callable[[Axes], object],
    name: str,
    alt: str,
    size: tuple[int, int],
    margins: tuple[int, int, int, int],
) -> Markup:
    """Return a plot as an ``<svg>`` element.

    Parameters
    ----------
    plot : callable
        Draws on the axes that it is given.
    name : str
        Different for each plot of a page.
    alt : str
        What there is to see, for those who do not.
    size : tuple of int
        Width and height in pixels.
    margins : tuple of int
        From the edges to the axes in pixels: left, right, bottom, top.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    width, height = size
    left, right, bottom, top = margins
    file = io.BytesIO()
    with rc_context(_STYLE):  # type: ignore[arg-type]
        # A point is a unit of SVG.
        inch = 72 * _SCALE
        figure = Figure(figsize=(width / inch, height / inch), dpi=72)
        across, up = width - left - right, height - bottom - top
        axes = figure.add_axes((left / width, bottom / height, across / width, up / height))
        plot(axes)
        FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
            file, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    root = ElementTree.fromstring(file.getvalue())  # noqa: S314 (just written)
    _adapt(root, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute)
    root.attrib |= {"role": "img", "aria-label": alt, "style": f"--width: {width}px"}
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 (escaped by ET)


def _adapt(root: ElementTree.Element, name: str) -> None:
    """Take colours and font from the page, and keep the ids of several plots apart."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    referred = {found["id"] for value in values for found in _REFERENCE.finditer(value)}
    for element in root.iter():
        for child in list(element):
            # A style would hold for the whole page.
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                element.remove(child)
        own = element.attrib.pop("id", "")
        for attribute, value in element.attrib.items():
            coloured = _COLOUR.sub(lambda found: _VARIABLES[found[0]], value)
            element.set(attribute, _REFERENCE.sub(rf"\g<before>#{name}-\g<id>", coloured))
        if own in referred:
            element.set("id", f"{name}-{own}")
