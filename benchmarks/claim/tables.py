"""What the cells say, as Markdown tables."""

import json
from pathlib import Path

import numpy as np
from grid import SETTINGS, purpose
from readings import METHODS
from scipy.stats import wilcoxon
from scores import CONSENSUS_EVERY, SCORED

# Both are compared with every method.
RIVALS = ("dividemix", "vrlvmix")
# Points that cross-entropy falls by where a setting can judge, as in `noisyselect compare`.
FALL = 3.0
SETS = (
    *("G_l", "V_c", "D_c", "rescued"),
    *("fill_a", "synthetic_a", "D_x_a", "fill_b", "synthetic_b", "D_x_b"),
)


def read_cells(folder):
    """Return all cells, in the order of seeds, with what was scored of them."""
    found = []
    for path in sorted(Path(folder).glob("*/*/*.json")):
        cell = json.loads(path.read_text())
        scores = path.parent / "scores" / path.name
        cell["scores"] = json.loads(scores.read_text()) if scores.exists() else None
        found.append(cell)
    return sorted(found, key=lambda cell: cell["seed"])


def tables(cells):
    """Return all tables: those of cells that confirm, and apart from them those to choose by."""
    parts = []
    for wanted, words in (
        ("confirming", "confirming: nothing was chosen by these"),
        ("development", "development: readings may be chosen by these"),
    ):
        of_purpose = [cell for cell in cells if purpose(cell) == wanted]
        for data in sorted({cell["data"] for cell in of_purpose}):
            chosen = [cell for cell in of_purpose if cell["data"] == data]
            parts += [f"## {data}, {words}", *of_one_data_set(chosen)]
    return "\n\n".join(parts) + "\n" if parts else "No cells yet.\n"


def of_one_data_set(cells):
    settings = in_order(SETTINGS, {cell["setting"] for cell in cells})
    seeds = sorted({cell["seed"] for cell in cells})
    yield (
        f"{cells[0]['n_samples']:,} samples, seeds {', '.join(map(str, seeds))}. Test accuracy "
        "over the last 5 epochs in per cent, mean and deviation over the seeds; in brackets the "
        "number of seeds where some are missing."
    )
    yield accuracy_table(cells, settings, len(seeds))
    for rival in RIVALS:
        yield from beside(cells, rival)
    yield from gains(cells, settings)
    yield from variance_beside_losses(cells)
    yield from evidence_in_the_end(cells, settings)
    yield from sets_in_the_end(cells, settings)
    for setting in settings:
        of_setting = [cell for cell in cells if cell["setting"] == setting]
        yield from anatomy_table(setting, of_setting)
        yield from sets_table(setting, of_setting)
        yield from change_table(setting, of_setting)
        yield from scores_table(setting, of_setting)


def accuracy_table(cells, settings, n_seeds):
    def row(name, text_of):
        return [name, *(text_of([c for c in cells if c["setting"] == s]) for s in settings)]

    def accuracy(method):
        return lambda found: spread(percents(found, method, "last_5"), n_seeds)

    methods = in_order(METHODS, {cell["method"] for cell in cells})
    rows = [
        row("wrong labels", lambda found: spread(100 * np.unique([rate(c) for c in found]), None)),
        row("fall of cross-entropy", fall),
        *(row(method, accuracy(method)) for method in methods),
    ]
    return markdown(["", *settings], rows)


def rate(cell):
    return cell["noise"]["realised_rate"]


def fall(cells):
    """Say by how much cross-entropy falls, and where that is too little to judge a method by."""
    points = percents(cells, "ce", "best") - percents(cells, "ce", "last_5")
    if not points.size:
        return ""
    return f"{points.mean():.1f}" + ("" if points.mean() >= FALL else " (does not count)")


def beside(cells, rival):
    """Yield how far each method is ahead of a rival, pair by pair of the same setting and seed."""
    rows = []
    for method, ahead in leads(cells, rival, {cell["method"] for cell in cells} - {rival}).items():
        means = {setting: points.mean() for setting, points in ahead.items()}
        worst = min(means, key=means.get)
        pairs = np.concatenate([*ahead.values()])
        medians = [np.median(points) for points in ahead.values()]
        error = standard_error(ahead.values())
        rows.append(
            [
                *(method, str(len(ahead)), f"{np.mean([*means.values()]):+.2f}"),
                "" if error is None else f"{error:.2f}",
                f"{np.mean(medians):+.2f}",
                f"{np.count_nonzero(pairs > 0)} of {pairs.size}",
                signed_rank(pairs),
                f"{means[worst]:+.2f} ({worst})",
            ]
        )
    if rows:
        yield (
            f"Ahead of {rival}, in points, paired by setting and seed; the standard error is that "
            "of the mean over these settings, from the spread over seeds within each; the median "
            "is that of the seeds, and its mean over the settings; p is that of Wilcoxon's "
            "signed-rank test of the pairs, which a single run that collapses cannot decide."
        )
        head = ["", "settings", "mean", "standard error", "median", "pairs ahead", "p"]
        yield markdown([*head, "worst setting"], rows)


def leads(cells, rival, names):
    """Return by method and setting the points ahead of a rival, of each seed that both have."""
    settings = in_order(SETTINGS, {cell["setting"] for cell in cells})
    of_methods = {}
    for method in in_order(METHODS, names):
        by_seed = {setting: differences(cells, setting, method, rival) for setting in settings}
        ahead = {s: np.array([*points.values()]) for s, points in by_seed.items() if points}
        if ahead:
            of_methods[method] = ahead
    return of_methods


def differences(cells, setting, method, rival):
    """Return by seed how many points a method is ahead, of each seed that both have."""
    by_method = {
        name: {c["seed"]: 100 * c["last_5"] for c in cells if of(c, setting, name)}
        for name in (method, rival)
    }
    ours, theirs = by_method[method], by_method[rival]
    return {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}


def of(cell, setting, method):
    return cell["setting"] == setting and cell["method"] == method


def standard_error(groups):
    """Return that of the mean of the groups' means, or None where one has a single member."""
    if any(points.size < 2 for points in groups):
        return None
    variance = sum(points.var(ddof=1) / points.size for points in groups)
    return np.sqrt(variance) / len(groups)


def signed_rank(pairs):
    """Return p of the signed-rank test, two-sided; of five pairs no p is small."""
    return f"{wilcoxon(pairs).pvalue:.2g}" if pairs.size > 5 else ""


def gains(cells, settings):
    """Yield what each reading of VRLVMix, or one part less, gains it in each setting."""
    readings = [name for name, method in METHODS.items() if method.trainer == "vrlvmix"]
    seeds = sorted({cell["seed"] for cell in cells if cell["method"] == "vrlvmix"})

    def of_setting(name, setting):
        points = differences(cells, setting, name, "vrlvmix")
        texts = (f"{points[seed]:+.1f}" if seed in points else "·" for seed in seeds)
        return ", ".join(texts) if points else ""

    rows = [
        [name, *(of_setting(name, setting) for setting in settings)]
        for name in leads(cells, "vrlvmix", set(readings) - {"vrlvmix"})
    ]
    if rows:
        yield (
            "Points that a reading, or one part less, gains VRLVMix, one for each of the seeds "
            f"{', '.join(map(str, seeds))}."
        )
        yield markdown(["", *settings], rows)


def anatomy_table(setting, cells):
    """Yield what each method was trained on in the last epoch, and what it learnt by heart."""
    measures = ("precision", "recall", "hard", "balance")
    rows = []
    for method in in_order(METHODS, {cell["method"] for cell in cells}):
        found = [cell for cell in cells if cell["method"] == method]
        fitted = [
            np.mean([cell["curves"][f"fitted_wrong_{name}"][-1] for name in "ab"]) for cell in found
        ]
        sets = [last(found, f"D_x_{name}", measure) for name in "ab" for measure in measures]
        estimates = [cell["noise_rate"] for cell in found if cell["noise_rate"] is not None]
        rows.append([method, mean(estimates), *map(mean, sets), mean(fitted)])
    yield (
        f"**{setting}**, last epoch, means over the seeds in per cent: the noise rate estimated at "
        "the end of warm-up; of what a and b are trained on with labels the precision, the recall, "
        "the recall among right labels of large loss, and the smallest class by the largest; the "
        "share of wrong labels fitted."
    )
    head = [f"{measure} {name}" for name in "ab" for measure in measures]
    yield markdown(["", "estimate", *head, "fitted"], rows)


def sets_table(setting, cells):
    """Yield the sets of VRLVMix in the last epoch."""
    found = [cell for cell in cells if cell["method"] == "vrlvmix"]
    if not found:
        return
    measures = ("precision", "recall", "hard", "balance")
    rows = []
    for name in SETS:
        sizes = last(found, name, "size")
        if sizes:
            values = [mean(last(found, name, measure)) for measure in measures]
            rows.append([name, f"{np.mean(sizes):,.0f}", *values])
    yield (
        f"**{setting}**, the sets of VRLVMix in the last epoch, likewise; of synthetic samples the "
        "precision is that of their anchors."
    )
    yield markdown(["", "size", *measures], rows)


def change_table(setting, cells):
    """Yield the core while the second case of Eq. 6 holds, after the change of the rate."""
    columns = (
        *(("D_c", measure) for measure in ("precision", "recall", "hard", "balance")),
        ("rescued", "precision"),
        ("D_x_a", "precision"),
    )
    rows = []
    for method in in_order(METHODS, {cell["method"] for cell in cells}):
        found = [cell for cell in cells if cell["method"] == method]
        sizes = [after_change(found, name, "size") for name in ("D_c", "rescued")]
        if sizes[0]:
            values = [mean(after_change(found, *column)) for column in columns]
            rows.append([method, *(f"{np.mean(size):,.0f}" for size in sizes), *values])
    if rows:
        yield (
            f"**{setting}**, the core while the rule for a changed rate holds, means over these "
            "epochs and the seeds; rescued are those of the core outside G_l."
        )
        head = [f"{measure} of {name}" for name, measure in columns]
        yield markdown(["", "size of D_c", "rescued", *head], rows)


def after_change(cells, name, measure):
    """Return a measure of a set in all epochs in which the rule for a changed rate holds."""
    values = []
    for cell in cells:
        column = cell["anatomy"]["sets"].get(name, {}).get(measure, [])
        held = cell["anatomy"].get("after_change", [])
        values += [value for value, holds in zip(column, held, strict=False) if holds]
    return [value for value in values if value is not None]


def last(cells, name, measure):
    """Return a measure of a set in the last epoch, of the cells that have it."""
    columns = [cell["anatomy"]["sets"].get(name, {}).get(measure) for cell in cells]
    return [column[-1] for column in columns if column and column[-1] is not None]


def sets_in_the_end(cells, settings):
    """Yield the sets of VRLVMix in the last epoch of every setting, beside each other."""
    by_setting = [[c for c in cells if of(c, setting, "vrlvmix")] for setting in settings]
    rows = []
    for name in SETS:
        for measure in ("size", "precision", "recall"):
            values = [last(found, name, measure) for found in by_setting]
            if any(values):
                text = whole if measure == "size" else mean
                rows.append([f"{name}, {measure}", *map(text, values)])
    if rows:
        yield "The sets of VRLVMix in the last epoch, means over the seeds; shares in per cent."
        yield markdown(["", *settings], rows)


def evidence_in_the_end(cells, settings):
    """Yield the areas under the ROC curve at the end of the logs of all settings."""
    for method in SCORED:
        by_setting = [
            [c["scores"] for c in cells if of(c, setting, method) and c["scores"]]
            for setting in settings
        ]
        if not any(by_setting):
            continue
        kinds = next(filter(None, by_setting))[0]["all"]
        yield (
            f"Area under the ROC curve at the end of the logs of {method}, of all samples / of "
            "those whose loss is above the median."
        )
        rows = [[kind, *(areas(found, kind, -1) for found in by_setting)] for kind in kinds]
        yield markdown(["", *settings], rows)


def scores_table(setting, cells):
    """Yield the areas under the ROC curve of each kind of evidence."""
    for method in in_order(METHODS, {cell["method"] for cell in cells}):
        found = [cell["scores"] for cell in cells if cell["method"] == method and cell["scores"]]
        if not found:
            continue
        epochs = found[0]["epochs"]
        # Those of which the consensus was asked.
        shown = range(CONSENSUS_EVERY - 1, len(epochs), CONSENSUS_EVERY)
        rows = [[kind, *(areas(found, kind, place) for place in shown)] for kind in found[0]["all"]]
        yield (
            f"**{setting}**, the log of {method}: area under the ROC curve after so many epochs, "
            "of all samples / of those whose loss is above the median."
        )
        yield markdown(["", *(str(epochs[place]) for place in shown)], rows)


def variance_beside_losses(cells):
    """Yield how often the variance of ranks, by its best window and sign, is behind the losses."""
    behind = {"last_loss": 0, "mean_loss": 0}
    n_epochs = 0
    for areas in (cell["scores"]["all"] for cell in cells if cell["scores"]):
        variances = [areas[kind] for kind in areas if kind.startswith(("signed", "absolute"))]
        for place, column in enumerate(zip(*variances, strict=True)):
            known = [value for value in column if value is not None]
            n_epochs += bool(known)
            for kind in behind:
                behind[kind] += bool(known) and max(known) < areas[kind][place]
    if n_epochs:
        yield (
            f"Of {n_epochs} epochs of logs that have any variance of ranks its area under the ROC "
            f"curve, by the best window and sign, is below that of the last loss at "
            f"{behind['last_loss']} and below that of the mean loss at {behind['mean_loss']}."
        )


def areas(scores, kind, place):
    """Return the area of all samples, and of those of large loss, as far as there are runs."""
    pair = (area(scores, among, kind, place) for among in ("all", "large_loss"))
    return " / ".join(filter(None, pair))


def area(scores, among, kind, place):
    values = [of_run[among][kind][place] for of_run in scores if kind in of_run[among]]
    values = [value for value in values if value is not None]
    return f"{np.mean(values):.3f}" if values else ""


def in_order(known, found):
    return [name for name in known if name in found]


def percents(cells, method, measure):
    return np.array([100 * cell[measure] for cell in cells if cell["method"] == method])


def spread(values, n_seeds):
    if not len(values):
        return ""
    deviation = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    missing = n_seeds is not None and len(values) < n_seeds
    return f"{np.mean(values):.1f}{deviation}" + (f" ({len(values)})" if missing else "")


def whole(sizes):
    return f"{np.mean(sizes):,.0f}" if sizes else ""


def mean(shares):
    return f"{100 * np.mean(shares):.1f}" if shares else ""


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
