"""Time the kernels beside what a user would pick instead: same data, same process, one core.

    OMP_NUM_THREADS=1 python benchmarks/kernels.py --out docs

Run by `make bench`, which writes docs/benchmarks.md and docs/scaling.svg. Ratios are the
alternative's time over ours, the median of the repetitions with the least and the greatest; ratios
travel between machines, seconds do not. All times are CPU time of the one thread.
"""

import argparse
import copy
import platform
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import torch
from aum import AUMCalculator
from imblearn.under_sampling import EditedNearestNeighbours
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.mixture import GaussianMixture

from noisyselect import ENNCleaner, MemoryBank, TrainingLog, VRLVSelector
from noisyselect.numeric.mixture import fit_in_few_steps, low_mean_posterior, unit_interval
from noisyselect.numeric.ranks import ChangeRanks

N_CLASSES, N_FEATURES, N_NEIGHBOURS, WINDOW, BATCH = 10, 16, 20, 10, 256
# What one job handles of a larger set: aum takes a second for every 35,000 samples, and a search of
# imbalanced-learn grows with the square.
MOST_RECORDED, MOST_SEARCHED = 100_000, 20_000
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
STEEPEST = 1.1


def made_up(n_samples, n_epochs=WINDOW + 2, seed=0):
    """Return a log of decaying losses, a third of them slower, and what else the jobs need."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, N_CLASSES, n_samples)
    wrong = rng.random(n_samples) < 0.33
    pace = np.where(wrong, 0.01, 0.125).astype(np.float32)
    losses = np.empty((n_epochs, n_samples), dtype=np.float32)
    predictions = np.empty((n_epochs, n_samples), dtype=np.int8)
    for epoch in range(n_epochs):
        noise = rng.standard_normal(n_samples, dtype=np.float32)
        losses[epoch] = 2.5 * np.exp(-pace * (epoch - 2) + 0.3 * noise)
        moved = rng.random(n_samples, dtype=np.float32) < np.where(wrong, 0.3, 0.02)
        predictions[epoch] = np.where(moved, (truth + 1) % N_CLASSES, truth)
    # Neighbours of the true class, anywhere in memory.
    mixed = rng.permutation(n_samples)
    by_class = mixed[np.argsort(truth[mixed].astype(np.uint8), kind="stable")]
    neighbours = np.empty((n_samples, N_NEIGHBOURS), dtype=np.int64)
    for column, step in enumerate(rng.permutation(50)[:N_NEIGHBOURS] + 1):
        neighbours[by_class, column] = np.roll(by_class, step)
    log = TrainingLog(
        labels=np.where(wrong, rng.integers(0, N_CLASSES, n_samples), truth),
        losses=losses,
        predictions=predictions,
        neighbours=neighbours,
        n_classes=N_CLASSES,
    )
    return SimpleNamespace(log=log, truth=truth, rng=rng, values=unit_interval(losses[-1]))


# What a user would pick instead.


def sklearn_mixture(values):
    # As DivideMix's code has it.
    model = GaussianMixture(2, reg_covar=5e-4, tol=1e-2, max_iter=10, random_state=0)
    return model.fit(values[:, None]).predict_proba(values[:, None])[:, model.means_.argmin()]


def double_argsort(losses):
    changes = losses[:-1].astype(np.float64) - losses[1:]
    return (np.argsort(np.argsort(changes, axis=1), axis=1) / (len(losses[0]) - 1)).var(axis=0)


def plain_vrlv(log, window=5):
    """Return what VRLVSelector selects for both networks, in plain numpy and scikit-learn."""
    n, rng = log.n_samples, np.random.default_rng(0)
    posterior = sklearn_mixture(unit_interval(log.losses[-1]))
    small = posterior > 0.5
    variance = double_argsort(log.losses[-(window + 1) :])
    stable = np.zeros(n, dtype=bool)
    stable[np.argsort(variance, kind="stable")[: small.sum()]] = True
    recent = log.predictions[-(window + 1) :]
    core = small & stable & (recent[1:] == recent[:-1]).all(axis=0)
    in_core = core[log.neighbours]
    votes = in_core.sum(axis=1)
    agreeing = ((log.labels[log.neighbours] == log.labels[:, None]) & in_core).sum(axis=1)
    quota = int(small.mean() * n / N_CLASSES)
    answers = []
    for source, criterion in ((stable, variance), (small, log.losses[-1])):
        clean, recipes = core.copy(), []
        for label in range(N_CLASSES):
            of_class = log.labels == label
            short = max(0, quota - np.count_nonzero(core & of_class))
            rows = np.flatnonzero(source & ~core & of_class)
            if rows.size > short:
                rows = rows[(2 * agreeing[rows] > votes[rows]) | (votes[rows] == 0)]
            fill = rows[np.lexsort((criterion[rows], votes[rows] == 0))][:short]
            clean[fill] = True
            anchors = np.flatnonzero(core & of_class)
            partners = ~source[log.neighbours[anchors]]
            anchors = anchors[partners.any(axis=1)]
            chosen = rng.permutation(anchors)[: short - fill.size]
            first = (~source[log.neighbours[chosen]]).argmax(axis=1)
            lam = rng.beta(4, 4, chosen.size)
            recipes.append((chosen, log.neighbours[chosen, first], np.maximum(lam, 1 - lam)))
        tier = core.astype(int) + clean
        rank = np.argsort(np.argsort(criterion)) / (n - 1)
        score = np.argsort(np.argsort(tier - rank / 2)) / (n - 1)
        counts = np.bincount(log.labels[clean], minlength=N_CLASSES)
        counts += np.array([len(chosen) for chosen, _, _ in recipes])
        weights = np.where(clean, (counts.sum() / (counts * N_CLASSES))[log.labels], 0)
        trust = np.where(core, 1.0, posterior)
        answers.append((clean, score, weights, trust, np.where(clean, "kept", "dropped"), recipes))
    return answers


# The jobs: each prepares what is not to be timed and returns what is.


@dataclass(frozen=True)
class Job:
    """One line of the table.

    `ours` and `theirs` prepare, untimed, and return the function to be timed; `differs` is the
    share of samples on which the answers disagree, or the largest error of a rank, and `bound` what
    it may be. `bytes_moved` is what must at least be read and written, per sample.
    """

    name: str
    alternative: str
    goals: dict[int, int]
    ours: Callable
    theirs: Callable
    differs: Callable
    bound: float
    bytes_moved: int
    most: int | None = None


def mixture_job():
    return Job(
        "mixture: fit and posterior",
        "scikit-learn, GaussianMixture",
        {1_000_000: 100, 10_000_000: 300},
        lambda made: lambda: low_mean_posterior(made.values, fit_in_few_steps(made.values)),
        lambda made: lambda: sklearn_mixture(made.values),
        lambda ours, theirs: np.mean((ours > 0.5) != (theirs > 0.5)),
        1e-3,
        8 + 8,
    )


def rank_job():
    def one_new_epoch(made):
        if not hasattr(made, "known"):
            made.known = ChangeRanks()
            made.known.variance(made.log.losses[:-1], made.log.epochs[:-1])
        known = copy.copy(made.known)
        return lambda: known.variance(made.log.losses[1:], made.log.epochs[1:])

    return Job(
        f"variance of ranks, window {WINDOW}, one new epoch",
        "numpy, double argsort of all epochs",
        {1_000_000: 30, 10_000_000: 30},
        one_new_epoch,
        lambda made: lambda: double_argsort(made.log.losses[1:]),
        lambda ours, theirs: np.abs(np.sqrt(ours) - np.sqrt(theirs)).max(),
        1e-3,
        2 * 4 + (WINDOW - 1) * 2 + 2 + 8,
    )


def recording_job():
    def batches(made):
        n = made.log.n_samples
        if not hasattr(made, "batches"):
            logits = torch.from_numpy(made.rng.standard_normal((n, N_CLASSES), dtype=np.float32))
            labels = torch.from_numpy(made.log.labels[:n].copy())
            made.batches = [
                (ids, logits[ids], labels[ids], logits[ids].softmax(dim=1))
                for ids in torch.from_numpy(made.rng.permutation(n)).split(BATCH)
            ]
        return made.batches

    def ours(made):
        given = [(ids.numpy(), p.numpy()) for ids, _, _, p in batches(made)]

        def record():
            bank = MemoryBank(made.log.labels)
            for ids, probabilities in given:
                bank.record(ids, probabilities=probabilities)
            bank.end_epoch()
            return bank.log().predictions[0]

        return record

    def theirs(made):
        given = [(logits, labels, ids.tolist()) for ids, logits, labels, _ in batches(made)]

        def update():
            calculator, predictions = AUMCalculator(tempfile.gettempdir()), {}
            for logits, labels, ids in given:
                predictions |= calculator.update(logits, labels, ids)
            return predictions

        return update

    def differs(ours, records):
        theirs = np.array(
            [
                r.target_logit if r.margin > 0 else r.other_logit
                for r in (records[i] for i in range(ours.size))
            ]
        )
        return np.mean(ours != theirs)

    return Job(
        f"recording an epoch in batches of {BATCH}, {N_CLASSES} class scores",
        "aum, update",
        {1_000_000: 100},
        ours,
        theirs,
        differs,
        1e-4,  # equal float32 scores
        8 + 2 * 4 * N_CLASSES + 1 + 4 + 1,
        most=MOST_RECORDED,
    )


def enn_job():
    def few(made):
        n = min(made.log.n_samples, MOST_SEARCHED)
        features = np.eye(N_CLASSES, N_FEATURES)[made.truth[:n]]
        return features + 0.2 * made.rng.normal(size=features.shape), made.log.labels[:n]

    def theirs(made):
        features, labels = few(made)
        rule = EditedNearestNeighbours(n_neighbors=N_NEIGHBOURS, sampling_strategy="all")
        return lambda: rule.fit_resample(features, labels)

    return Job(
        "ENN on given neighbours",
        "imbalanced-learn, EditedNearestNeighbours, which searches",
        {1_000_000: 100},
        lambda made: lambda: ENNCleaner(N_NEIGHBOURS).select(made.log),
        theirs,
        lambda ours, theirs: (
            0.0
        ),  # on neighbours of its own: tests/balance/test_samplers.py compares
        0.0,
        N_NEIGHBOURS * (8 + 1) + 8 + 3 * 8 + 3,
        most=MOST_SEARCHED,
    )


def vrlv_job():
    def ours(made):
        log = replace(made.log)  # one that has been selected from knows its ranks
        return lambda: VRLVSelector(window=5).select_pair(log, log)

    return Job(
        "VRLV, two networks, neighbours given",
        "the same in plain numpy and scikit-learn",
        {1_000_000: 30, 10_000_000: 50},
        ours,
        lambda made: lambda: plain_vrlv(made.log),
        lambda ours, theirs: max(
            np.mean(selection.clean != answer[0])
            for selection, answer in zip(ours, theirs, strict=True)
        ),
        1e-3,
        6 * (4 + 1) + 8 + N_NEIGHBOURS * 8 + 2 * (3 * 8 + 3),
    )


JOBS = (mixture_job(), rank_job(), recording_job(), enn_job(), vrlv_job())


@dataclass(frozen=True)
class Line:
    """A job at one size, timed."""

    job: Job
    n_samples: int
    ours: np.ndarray
    theirs: np.ndarray
    differs: float
    memory: float

    @property
    def ratios(self):
        """Their seconds over ours, by turn."""
        return np.resize(self.theirs, self.ours.size) / self.ours


def seconds(function):
    start = time.thread_time()
    answer = function()
    return time.thread_time() - start, answer


def beside(job, made, repetitions, alternatives):
    """Time both in turns; what a job handles at most of a larger set, both handle."""
    n = made.log.n_samples if job.most is None else min(job.most, made.log.n_samples)
    made = made if n == made.log.n_samples else made_up(n)
    ours, theirs = [], []
    for turn in range(repetitions):
        taken, mine = seconds(job.ours(made))
        ours.append(taken)
        if turn < alternatives:
            taken, other = seconds(job.theirs(made))
            theirs.append(taken)
    differs = float(job.differs(mine, other))
    del mine, other
    return Line(job, n, np.array(ours), np.array(theirs), differs, peak(job.ours(made)) / n)


def peak(function):
    """Return the bytes that a call takes at its peak."""
    tracemalloc.start()
    function()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return taken


def bandwidth(n_bytes=1 << 28):
    """Return bytes read and written per second by one core that copies memory."""
    source, target = np.ones(n_bytes, dtype=np.uint8), np.ones(n_bytes, dtype=np.uint8)
    return 2 * n_bytes / min(seconds(lambda: np.copyto(target, source))[0] for _ in range(5))


def slope(sizes, taken):
    """Return the exponent of the cost, fitted to the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(taken), 1)[0])


def run(sizes, repetitions):
    """Yield, after each size, the lines of the table, and our seconds by job and size."""
    lines, own = [], {job.name: {} for job in JOBS}
    for n_samples in track(sizes, "timing", transient=True):
        made = made_up(n_samples)
        for job in JOBS:
            # Batches of ten million class scores would need more memory than all else.
            if job.most != MOST_RECORDED or n_samples <= 1_000_000:
                taken = [seconds(job.ours(made))[0] for _ in range(3)]
                own[job.name][n_samples] = float(np.median(taken))
            if n_samples in job.goals:
                few = n_samples > 1_000_000  # an alternative takes a minute there
                lines.append(beside(job, made, repetitions, 1 if few else repetitions))
        yield lines, own


# The page.


def verdict(line, goal, ratio, reckoned):
    met = "met" if ratio >= goal else f"missed by {1 - ratio / goal:.0%}"
    return f"{goal}: {met}{', reckoned' if reckoned else ''}"


def table(lines, own, speed):
    """Yield the rows of the page's table, the heading first."""
    yield (
        "job",
        "instead",
        "samples",
        "ours, s",
        "instead, s",
        "times faster",
        "goal",
        "off the limit",
        "memory",
        "differs",
    )
    for line in lines:
        job = line.job
        for n_goal, goal in job.goals.items():
            if n_goal != line.n_samples and not (job.most and line.n_samples == job.most):
                continue
            ratio, reckoned = np.median(line.ratios), job.most == MOST_SEARCHED
            if reckoned:  # a search of all pairs
                growth = (n_goal / line.n_samples) ** 2
                ratio = np.median(line.theirs) * growth / own[job.name][n_goal]
            spread = f"**{np.median(line.ratios):,.0f}** ({line.ratios.min():,.0f} to "
            ours = np.median(line.ours)
            yield (
                job.name,
                job.alternative,
                f"{line.n_samples:,}",
                f"{ours:.3g}",
                f"{np.median(line.theirs):.3g}",
                f"{spread}{line.ratios.max():,.0f})",
                verdict(line, goal, ratio, reckoned),
                f"{ours * speed / (job.bytes_moved * line.n_samples):.1f}",
                f"{line.memory:.0f}",
                f"{line.differs:.2g}",
            )


def page(rows, own, speed, options):
    """Return docs/benchmarks.md."""
    heading, *body = rows
    grid = [heading, ["---"] * len(heading), *body]
    sizes = [f"{n:,}" for n in options.sizes]
    scaling = [["job", *sizes, "slope"], ["---"] * (len(sizes) + 2)]
    for name, taken in own.items():
        cells = [f"{taken[n]:.3g}" if n in taken else "" for n in options.sizes]
        scaling.append([name, *cells, f"{slope(list(taken), list(taken.values())):.2f}"])
    versions = ", ".join(
        f"{name} {version(name)}"
        for name in ("numpy", "scikit-learn", "imbalanced-learn", "aum", "torch")
    )
    return PAGE.format(
        table="\n".join(f"| {' | '.join(row)} |" for row in grid),
        scaling="\n".join(f"| {' | '.join(row)} |" for row in scaling),
        machine=f"{cpu()}, one core, Python {platform.python_version()}",
        versions=versions,
        date=date.today().isoformat(),
        repetitions=options.repetitions,
        bandwidth=f"{speed / 1e9:.1f}",
        recorded=f"{MOST_RECORDED:,}",
        searched=f"{MOST_SEARCHED:,}",
        steepest=STEEPEST,
    )


def cpu():
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(
        (part.strip() for part in row.split(":", 1)) for row in described.splitlines() if ":" in row
    )
    name = fields.get("model name", platform.processor())
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def plot(own, path):
    """Draw our seconds over the number of samples, with a line of slope 1 for the eye."""
    mpl.rcParams["svg.hashsalt"] = "noisyselect"
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, taken in own.items():
        sizes, values = list(taken), list(taken.values())
        axes.loglog(sizes, values, "o-", ms=4, lw=1.5, label=f"{name}: {slope(sizes, values):.2f}")
    ends = np.array([min(sizes), max(SIZES)])
    axes.loglog(ends, 3e-8 * ends, "k--", lw=1, label="slope 1")
    axes.set(xlabel="samples", ylabel="seconds on one core")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, title="job: slope", title_fontsize=8)
    figure.savefig(path, metadata={"Date": None})


PAGE = """\
# Benchmarks

What a selection costs, beside what one would pick instead: in one process, on the same made-up
data, on one core.

`make bench`, which is `OMP_NUM_THREADS=1 python benchmarks/kernels.py --out docs`, {date};
{machine}; {versions}. The machine was shared with other work. Seconds are CPU time of the one
thread; ratios travel between machines, seconds do not.

## Beside the alternatives

{table}

- **times faster**: the alternative's time over ours, in turns; the median of {repetitions}
  repetitions, with the least and the greatest. At 10 million samples the alternative ran once.
- **off the limit**: our time over that of moving what must at least be read and written, at
  {bandwidth} GB/s, what one core reaches here when it copies memory.
- **memory**: bytes per sample that ours takes at its peak, the answer included, what it is given
  not. The losses of a window of 5 are 24 bytes per sample, of 10 they are 44.
- **differs**: the share of samples on which the answers disagree; of ranks the largest error, as a
  share of the samples. ENN searches for neighbours of its own, and is compared by a test.
- The mixture stops in both as in DivideMix's code: regulariser 5e-4, tolerance 1e-2, 10 steps at
  most. scikit-learn starts from its 2-means, which stops a little beside the best split.
- One new epoch: ten changes are ranked, of which nine were in the window before. numpy ranks all.
- Recording takes {recorded} samples: aum takes the same time for each. It keeps margins; ours keeps
  class scores, predictions and confidences.
- imbalanced-learn's ENN cannot be given neighbours. Its search of all pairs grows with the square:
  it was timed on {searched} samples, and the ratio at a million is reckoned from that. A search
  costs us too, once, with faiss.

What keeps VRLV from its limit: at every step numpy reads and writes a block of samples again, if
only in the cache, where one pass could do. A fifth of the time (cProfile, 5 million samples) are
look-ups of neighbours, anywhere in memory: 20 for each candidate and for the first anchors.

What keeps recording from it: each batch of 256 is checked and written by itself, by calls of numpy
that cost the same for any number of samples, into columns that no cache holds.

## Larger sets

Our seconds, and the slope of their logarithms: 1 is linear, {steepest} is the most we allow. From
131,072 samples on ranks are counted, below they are sorted.

{scaling}

![Seconds over samples, on logarithmic axes: the jobs beside a line of slope 1.](scaling.svg)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for benchmarks.md and scaling.svg")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    speed = bandwidth()
    for lines, own in run(options.sizes, options.repetitions):
        rows = list(table(lines, own, speed))
        if options.out and lines:  # what is stopped leaves what it has
            (options.out / "benchmarks.md").write_text(page(rows, own, speed, options))
            plot(own, options.out / "scaling.svg")
    shown = Table(*rows[0])
    for row in rows[1:]:
        shown.add_row(*row)
    Console(width=max(160, Console().width)).print(shown)
    for name, taken in own.items():
        print(f"{name}: slope {slope(list(taken), list(taken.values())):.2f}")


if __name__ == "__main__":
    main()
