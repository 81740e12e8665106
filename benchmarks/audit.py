"""How many wrong labels `noisyselect audit` finds, beside cleanlab where that is installed.

Labels are made wrong in known ways; nobody is told. The tables of docs/audit.md:

    python benchmarks/audit.py
    python benchmarks/audit.py --cifar10 F.npz --seeds 0    # of noisyselect features --data cifar10
"""

import argparse
import os
import time
import warnings
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

import numpy as np
from sklearn import datasets
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from noisyselect import GMMSelector, noise
from noisyselect.errors import NoisySelectWarning
from noisyselect.torch import audit, load_data, with_noise

NOISE = [("sym", 0.1), ("sym", 0.2), ("sym", 0.4), ("pair", 0.2), ("asym", 0.4)]


METHODS = ("audit", "audit, gmm", "cleanlab, our probabilities", "cleanlab, its default")


def imbalanced():
    """5,000 samples of 7 classes as unequal as those of the forest cover types."""
    shares = [0.36, 0.48, 0.06, 0.02, 0.02, 0.03, 0.03]
    return datasets.make_classification(
        5000,
        n_features=54,
        n_informative=12,
        n_classes=7,
        class_sep=1.2,
        weights=shares,
        flip_y=0,
        random_state=0,
    )


SETS = {
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "imbalanced": imbalanced,
}


def corrupted(truth, kind, rate, seed):
    """Return labels of which a share is wrong; asym: every other class is taken for the next."""
    n_classes = truth.max() + 1
    transition = {
        "sym": lambda: noise.symmetric(n_classes, rate, include_true=False),
        "pair": lambda: noise.pair(n_classes, rate),
        "asym": lambda: noise.asymmetric(
            n_classes, rate, {c: c + 1 for c in range(0, n_classes - 1, 2)}
        ),
    }[kind]()
    return noise.corrupt(truth, transition, seed)


def answers(X, labels, restarts, logistic):
    """Yield by name a score per sample, higher is cleaner, a mask of suspicious ones, seconds."""
    start = time.process_time()
    result = audit(X, labels, n_restarts=restarts)
    seconds = time.process_time() - start
    yield "audit", result.selection.score, ~result.selection.clean, seconds
    other = GMMSelector().select(result.log_a, result.log_b)
    yield "audit, gmm", other.score, ~other.clean, seconds
    if find_spec("cleanlab") is None:
        return
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    logs = result.log_a, result.log_b
    mean = np.mean([log.probabilities[-1].astype(float) for log in logs], axis=0)
    mean /= mean.sum(axis=1, keepdims=True)
    yield (
        "cleanlab, our probabilities",
        get_label_quality_scores(labels, mean),
        find_label_issues(labels, mean, n_jobs=1),
        seconds,
    )
    if logistic:
        from cleanlab.classification import CleanLearning
        from sklearn.linear_model import LogisticRegression

        start = time.process_time()
        model = CleanLearning(
            LogisticRegression(max_iter=1000),
            seed=0,
            verbose=False,
            find_label_issues_kwargs={"n_jobs": 1},
        )
        issues = model.find_label_issues(StandardScaler().fit_transform(X), labels)
        seconds = time.process_time() - start
        quality, suspicious = issues["label_quality"], issues["is_label_issue"]
        yield "cleanlab, its default", quality.to_numpy(), suspicious.to_numpy(), seconds


def measures(truth, labels, score, suspicious):
    """Return AUROC, and precision, recall and F1 of the suspicious labels."""
    wrong = labels != truth
    hits = np.count_nonzero(wrong & suspicious)
    n_suspicious, n_wrong = np.count_nonzero(suspicious), np.count_nonzero(wrong)
    return (
        roc_auc_score(~wrong, score),
        hits / max(1, n_suspicious),
        hits / n_wrong,
        2 * hits / (n_suspicious + n_wrong),
    )


def report(name, cases, restarts, logistic):
    """Print a row of the table, means over the cases."""
    figures = {method: [] for method in METHODS}
    for X, truth, labels in cases:
        for method, score, suspicious, seconds in answers(X, labels, restarts, logistic):
            figures[method].append([*measures(truth, labels, score, suspicious), seconds])
    cells = [name]
    for rows in figures.values():
        if not rows:
            cells.append("")
            continue
        auroc, precision, recall, f1, _ = np.mean(rows, axis=0)
        cells.append(f"{auroc:.3f}, {precision:.0%}, {recall:.0%}, **{f1:.0%}**")
    cells.append(f"{np.mean(figures['audit'], axis=0)[-1]:.1f}")
    print(f"| {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--cifar10", metavar="NPZ", help="features, in place of the small sets")
    options = parser.parse_args()
    warnings.simplefilter("ignore", NoisySelectWarning)
    print(f"| labels | {' | '.join(METHODS)} | CPU seconds |")
    print("|---" * (len(METHODS) + 2) + "|")
    if options.cifar10:
        data = load_data(options.cifar10)
        X, truth = data.inputs[:, 0], data.labels
        for kind, rate in (("human", 0.0), ("sym", 0.2), ("asym", 0.4)):
            made = [with_noise(data, kind, rate, seed=seed) for seed in options.seeds]
            cases = [(X, truth, noisy.labels) for noisy in made]
            wrong = np.mean([labels != truth for *_, labels in cases])
            report(f"CIFAR-10, {kind}, {wrong:.0%} wrong", cases, options.restarts, False)
        return
    for name in options.sets:
        X, truth = SETS[name]()
        for kind, rate in NOISE:
            if kind == "pair" and truth.max() == 1:
                continue  # of two classes it is sym
            cases = [(X, truth, corrupted(truth, kind, rate, seed)) for seed in options.seeds]
            report(f"{name}, {kind} {rate:.0%}", cases, options.restarts, True)


if __name__ == "__main__":
    main()
