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
    "evidence speaks for it": "most kinds of evidence speak for its label",
    "evidence speaks against it": "most kinds of evidence speak against its label",
    "nothing speaks against it": "nothing speaks against its label",
    "small loss in its class": "its loss is small within its class",
    "large loss in its class": "its loss is large within its class",
    "small joint loss": "both networks fit its label and predict alike",
    "large joint loss": "the networks do not fit its label, or predict differently",
    "networks agree": "both networks predict alike, so it teaches them nothing new",
    "small loss over a cycle": "its loss is small over a cycle of the learning rate",
    "large loss over a cycle": "its loss is large over a cycle of the learning rate",
    "small lower bound of the loss": "its loss may well be small",
    "large lower bound of the loss": "its loss is surely large",
    "easy to learn": "it was easy to learn",
    "ambiguous": "the probability of its label swings",
    "hard to learn": "it was hard to learn",
    "remembered": "it stays learnt",
    "forgotten": "it was learnt and forgotten",
    "never learnt": "its label was never predicted",
    "large margin": "its label is far ahead of the other classes",
    "small margin": "its label is not far ahead of the other classes",
    "probable label": "the network finds its label probable",
    "improbable label": "the network finds its label improbable",
    "label is believed": "the network believed its label on average",
    "label is not believed": "the network did not believe its label on average",
    "predicted with confidence": "its label is predicted with confidence",
    "prediction is close to the label": "its prediction is close to its label",
    "prediction is far from the label": "its prediction is far from its label",
    "another class in both views": "both views of it show another class",
    "the views disagree": "two views of it are predicted differently",
    "given class is predicted steadily": "its label is predicted steadily",
    "another class is predicted steadily": "a class other than its label is predicted steadily",
    "stands out in its batch": "its label is more probable than usual in its batch",
    "does not stand out in its batch": "its label is no more probable than usual in its batch",
    "cleanlab finds no issue": "cleanlab finds no issue with its label",
    "cleanlab finds an issue": "cleanlab finds an issue with its label",
    "class is full": "its class has enough that agree better with their neighbours",
    "points with its class": "its features point with its class",
    "points away from its class": "its features point away from its class",
    "lies with its class": "its features lie with its class",
    "lies with another class": "its features lie with another class",
    "densest tier of its class": "it lies where its class is densest",
    "middle tier of its class": "it lies where its class is less dense",
    "sparsest tier of its class": "it lies where its class is sparsest",
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
