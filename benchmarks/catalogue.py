"""Write docs/catalogue.md: every selector, from its own docstring, with the time it takes.

    OMP_NUM_THREADS=1 python benchmarks/catalogue.py --out docs/catalogue.md

Times are the median of three selections, on one core, from a made-up log of 50,000 samples, 10
classes and 30 epochs that has every column; neighbours are given, not searched for.
"""

import argparse
import inspect
import re
import time
import warnings
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
from numpydoc.docscrape import NumpyDocString

from noisyselect.bench import named_selectors
from noisyselect.checks import synthetic_log
from noisyselect.errors import DegenerateWarning

N_SAMPLES, N_CLASSES, N_EPOCHS, N_NEIGHBOURS = 50_000, 10, 30, 250

INTRODUCTION = """\
# The catalogue

Every selector there is, from its own docstring: what it keeps, what the log must have, what it
costs, where it comes from, and where it fails. All have one interface, `select(log, peer=None)`;
all are public names of `noisyselect`, and the command line knows them by the names in the first
column. Which one to take: [how to choose](how-to-choose.md). What they are worth on real logs:
[the benchmark](benchmark.md).

Seconds: {n_samples:,} samples, {n_classes} classes, {n_epochs} epochs, one core, neighbours given;
by `OMP_NUM_THREADS=1 python benchmarks/catalogue.py --out docs/catalogue.md`, {date}, {machine}.
"""

# What a log must have, as the headings under which selectors are found.
_FAMILIES = (
    ("From features or neighbours", lambda needs: not needs or "features" in needs),
    ("From a second view", lambda needs: "second_view" in needs),
    ("From class probabilities", lambda needs: "probabilities" in needs),
    ("From predictions", lambda needs: "predictions" in needs),
    ("From losses", lambda needs: True),
)


def family(selector):
    """Return the heading under which a selector is found."""
    return next(name for name, belongs in _FAMILIES if belongs(selector.needs))


def paragraphs(selector):
    """Return the paragraphs of the docstring's Notes, each as one line."""
    notes = "\n".join(NumpyDocString(inspect.getdoc(type(selector)))["Notes"])
    return [plain(text) for text in notes.split("\n\n")]


def plain(text):
    """Return reStructuredText of a docstring as Markdown on one line."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", " ".join(text.split()))
    text = re.sub(r"``([^`]*)``", r"`\1`", text)
    return re.sub(r"\[\d+\]_", "the source", text)


def source(selector):
    """Return the references of the docstring, as one line."""
    text = "\n".join(NumpyDocString(inspect.getdoc(type(selector)))["References"])
    found = [part for part in re.split(r"\.\. \[\d+\]", text) if part.strip()]
    return " ".join(" ".join(part.split()) for part in found)


def entry(name, selector):
    """Return the section of one selector."""
    needs = ", ".join(f"`{column}`" for column in selector.needs) or "`features` or `neighbours`"
    epochs = selector.history
    lines = [
        f"### {type(selector).__name__}",
        "",
        f"{plain(selector.summary)} On the command line `{name}`.",
        "",
        f"- **Needs** {needs}; of the last {epochs} epochs at most."
        if epochs > 1
        else f"- **Needs** {needs}, of the last epoch.",
    ]
    for text in paragraphs(selector):
        if text.startswith(("Cost:", "Defaults:")):
            head, rest = text.split(": ", 1)
            lines.append(f"- **{head}** {rest}")
        elif text.startswith("Fails where"):
            lines.append(f"- **Fails** {text.removeprefix('Fails ')}")
    lines.append(f"- **Source** {source(selector)}")
    return "\n".join(lines)


def overview(selectors, seconds):
    """Return the table of one family."""
    lines = ["| name | keeps | seconds |", "|---|---|---:|"]
    for name, selector in selectors.items():
        kept = plain(selector.summary).removeprefix("Keep ").removesuffix(".")
        lines.append(
            f"| [`{name}`](#{type(selector).__name__.lower()}) | {kept} | {seconds[name]} |"
        )
    return "\n".join(lines)


def page(seconds, machine):
    """Return the whole page."""
    parts = [
        INTRODUCTION.format(
            n_samples=N_SAMPLES,
            n_classes=N_CLASSES,
            n_epochs=N_EPOCHS,
            date=date.today().isoformat(),
            machine=machine,
        )
    ]
    selectors = named_selectors("all")
    for heading, _ in reversed(_FAMILIES):
        found = {name: each for name, each in selectors.items() if family(each) == heading}
        if found:
            parts += [f"## {heading}\n", overview(found, seconds) + "\n"]
            parts += [entry(name, each) + "\n" for name, each in found.items()]
    return "\n".join(parts)


def made_up_log():
    """Return a log with every column, and that of a second network."""
    logs = [synthetic_log(N_SAMPLES, N_EPOCHS, N_CLASSES, seed=seed)[0] for seed in (0, 1)]
    rng = np.random.default_rng(2)
    neighbours = (
        np.arange(N_SAMPLES)[:, None] + rng.permutation(1000)[:N_NEIGHBOURS] + 1
    ) % N_SAMPLES
    return [
        replace(
            log,
            labels=logs[0].labels,
            neighbours=neighbours,
            probabilities=log.probabilities.astype(np.float32),
            second_view=log.second_view.astype(np.float32),
        )
        for log in logs
    ]


def main():
    """Time every selector and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--machine", default="two cores of an AMD EPYC")
    options = parser.parse_args()
    log, peer = made_up_log()
    seconds = {}
    for name, selector in named_selectors("all").items():
        taken = []
        for _ in range(3):
            start = time.thread_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DegenerateWarning)
                selector.select(log, peer)
            taken.append(time.thread_time() - start)
        seconds[name] = f"{median(taken):.2f}"
        print(f"{name:24} {seconds[name]}")
    options.out.write_text(page(seconds, options.machine))


if __name__ == "__main__":
    main()
