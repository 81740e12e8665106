"""How a report says things: reasons of selectors as clauses, numbers as text."""

from __future__ import annotations

import math
import re

from noisyselect.selector import Selector

# Spaces that neither break a line nor stand wide.
_THIN = "\u202f"
_UNKNOWN = "\u2013"

# The `reason` codes of all selectors that drop or keep a sample, as what they say of it.
_CLAUSES = {
    "small loss": "its loss is small",
    "large loss": "its loss is large",
    "stable loss": "its loss falls steadily",
    "varying loss": "its loss changes in jumps",
    "stable prediction": "its prediction stays the same",
    "changing prediction": "its prediction keeps changing",
    "adapted to the new rate": "its prediction came back after the learning rate changed",
    "did not adapt to the new rate": "its prediction did not come back after the learning rate "
    "changed",
    "neighbours agree": "most neighbours carry its label",
    "neighbours disagree": "most neighbours carry other labels",
    "given class is likeliest": "its label is the likeliest class",
    "another class is likelier": "another class is likelier than its label",
    "core": "loss, loss history and prediction all speak for it",
    "fill": "it fills up its class",
    # VRLV's; so is the core.
    "dropped": "not all evidence is for it, nor does its class need it",
    "no valid record": "no valid loss or prediction is known of it",
}


def clause(reason: str) -> str:
    """Return what the `reason` of a selection says of a sample; an unknown reason as it is."""
    return _CLAUSES.get(reason, reason)


def rule(selector: Selector) -> str:
    """Return what a selector goes by, to follow "which".

    Examples
    --------
    >>> from noisyselect import GMMSelector
    >>> rule(GMMSelector())
    'keeps the samples whose loss belongs to the lower of two Gaussians'
    """
    text = selector.summary.replace("`", "").removesuffix(".")
    return re.sub("^Keep ", "keeps ", text)


def sentence(clauses: list[str]) -> str:
    """Return clauses as one sentence."""
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."


def first_sentence(text: str) -> str:
    """Return what is wrong, without the way out that an error names to who writes code."""
    return text.split(". ", maxsplit=1)[0].removesuffix(".") + "."


def percent(share: float, digits: int = 1) -> str:
    """Return a share as percent; a dash if it is not known."""
    return _UNKNOWN if math.isnan(share) else f"{100 * share:.{digits}f}{_THIN}%"


def count(number: float) -> str:
    """Return a whole number with its thousands told apart."""
    return f"{number:,.0f}"


def counted(number: int, one: str, many: str) -> str:
    """Return a number and what it counts."""
    return f"{count(number)} {one if number == 1 else many}"


def decimal(value: float, digits: int = 2) -> str:
    """Return a number with so many decimals; a dash if it is not known."""
    return f"{value:.{digits}f}" if math.isfinite(value) else _UNKNOWN


def listed(items: list[str]) -> str:
    """Return items as an enumeration.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
