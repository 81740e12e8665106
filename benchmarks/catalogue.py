"""Write docs/catalogue.md: every selector and label corrector, from its docstring, and its cost.

    OMP_NUM_THREADS=1 python benchmarks/catalogue.py --out docs/catalogue.md

Times are the median of three selections, on one core, from a made-up log of 50,000 samples, 10
classes and 30 epochs that has every column; neighbours are given, not searched for.
"""

import argparse
import inspect
import re
import sys
import time
import warnings
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
from numpydoc.docscrape import NumpyDocString

import noisyselect
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

CORRECTORS = """\
## Correcting labels

They answer with soft labels, `correct(log, peer=None)`, and have no name on the command line.
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


def needed(rule):
    """Return what a rule needs, and of which epochs."""
    columns = [f"`{column}`" for column in rule.needs] or ["`features` or `neighbours`"]
    text = " and ".join(columns)
    if set(rule.needs) <= {"features"}:
        return text  # which have no epochs
    if rule.history == 1:
        return f"{text} of the last epoch"
    return (
        f"{text} of {'all' if rule.history == sys.maxsize else f'the last {rule.history}'} epochs"
    )


def returned(selector):
    """Return what a selection has beside `clean` and `score`, as found on a made-up log."""
    log, _ = synthetic_log(400, 24)
    peer = replace(synthetic_log(400, 24, seed=1)[0], labels=log.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateWarning)
        answers = [
            selector.select(log),
            selector.select(log, peer),
            *(selector.select(log.until(end)) for end in (16, 21)),
        ]
    also = [
        f"`{name}`"
        for name in ("trust", "weights")
        if any((getattr(answer, name) != answer.clean).any() for answer in answers)
    ]
    also += ["`synthetic`"] if any(answer.synthetic is not None for answer in answers) else []
    reasons = sorted({str(reason) for answer in answers for reason in answer.reason})
    said = ", ".join(f'"{reason}"' for reason in reasons)
    return f"{', '.join(['`clean`', '`score`', *also])}; `reason` is one of {said}"


def entry(rule):
    """Return the section of a selector or a label corrector."""
    lines = [
        f"### {type(rule).__name__}",
        "",
        plain(rule.summary),
        "",
        f"- **Needs** {needed(rule)}.",
    ]
    if isinstance(rule, noisyselect.Selector):
        lines.append(f"- **Returns** {returned(rule)}.")
    for text in paragraphs(rule):
        if text.startswith(("Cost:", "Defaults:")):
            head, rest = text.split(": ", 1)
            lines.append(f"- **{head}** {rest}")
        elif text.startswith("Fails where"):
            lines.append(f"- **Fails** {text.removeprefix('Fails ')}")
    lines.append(f"- **Source** {source(rule)}")
    return "\n".join(lines)


def overview(selectors, seconds, does="keeps"):
    """Return the table of one family."""
    lines = [f"| name | {does} | seconds |", "|---|---|---:|"]
    for name, selector in selectors.items():
        kept = plain(selector.summary).removeprefix("Keep ").removesuffix(".")
        lines.append(
            f"| [`{name}`](#{type(selector).__name__.lower()}) | {kept} | {seconds[name]} |"
        )
    return "\n".join(lines)


def correctors():
    """Return every label corrector, with default options, by its name."""
    names = [name for name in noisyselect.__all__ if name.endswith("Corrector")]
    return {name: getattr(noisyselect, name)() for name in names if name != "LabelCorrector"}


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
            parts += [entry(each) + "\n" for each in found.values()]
    parts += [CORRECTORS, overview(correctors(), seconds, "what it does") + "\n"]
    parts += [entry(each) + "\n" for each in correctors().values()]
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
    for name, rule in (named_selectors("all") | correctors()).items():
        answer = rule.correct if name in correctors() else rule.select
        taken = []
        for _ in range(3):
            start = time.thread_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DegenerateWarning)
                answer(log, peer)
            taken.append(time.thread_time() - start)
        seconds[name] = f"{median(taken):.2f}"
        print(f"{name:24} {seconds[name]}")
    options.out.write_text(page(seconds, options.machine))


if __name__ == "__main__":
    main()
