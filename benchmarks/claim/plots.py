"""What the cells say, as figures: one of the evidence, one of the methods, one of the readings.

Each is of one data set and one purpose. Colours are those of Okabe and Ito, which the colour-blind
tell apart, and never the only difference.
"""

from itertools import cycle
from pathlib import Path

import numpy as np
from grid import SETTINGS, purpose
from readings import METHODS
from scores import SCORED
from tables import in_order, leads, standard_error

from noisyselect.plots.palette import DISTRUSTED, FAINT, MUTED, TRUSTED

# By kind of evidence: name, colour and dashes. A colour is a family.
EVIDENCE = {
    "signed_10": ("variance, 10 signed changes", "#0072B2", "-"),
    "signed_5": ("variance, 5 signed changes", "#0072B2", (0, (5, 1.5))),
    "absolute_10": ("variance, 10 absolute changes", "#0072B2", (0, (1.2, 1.2))),
    "last_loss": ("last loss", "#D55E00", "-"),
    "mean_loss": ("mean loss", "#D55E00", (0, (5, 1.5))),
    "neighbour_predictions": ("neighbours' predictions", "#009E73", (0, (7, 1.5, 1.2, 1.5))),
    "consensus": ("consensus", "#000000", "-"),
}
OTHERS = "margin, forgetting, neighbours' labels,\nother windows"
OTHER_COLOUR = "0.8"
# A setting looks the same in every figure.
COLOURS = ("#56B4E9", "#0072B2", "#000000", "#D55E00", "#CC79A7", "#737373", "#009E73", "#E69F00")
LOOKS = dict(zip(SETTINGS, cycle(zip(COLOURS, "osD^PXvp", strict=True))))
# Panels beside each other. Figures are 8 inches wide, and then legible on a page of the manual.
MOST_ACROSS = {"evidence": 4, "methods": 3}
WIDTH = 8.0
# What is farther out than three interquartile ranges, and than so many points, stands at the edge.
LEAST_FENCE = 2.0


def write_plots(cells, folder):
    """Write the figures that there are cells for, as SVG, and return their paths.

    Parameters
    ----------
    cells : list of dict
        As `read_cells` returns them.
    folder : path
        Files are ``claim-FIGURE-DATA-PURPOSE.svg``: ``evidence`` of both purposes, ``methods`` of
        cells that confirm, ``readings`` of those to choose by.
    """
    from matplotlib import rc_context

    Path(folder).mkdir(parents=True, exist_ok=True)
    written = []
    # The same cells make the same file.
    with rc_context({"svg.hashsalt": "noisyselect"}):
        for wanted, drawn in (
            ("confirming", (evidence, methods)),
            ("development", (evidence, readings)),
        ):
            of_purpose = [cell for cell in cells if purpose(cell) == wanted]
            for data in sorted({cell["data"] for cell in of_purpose}):
                chosen = [cell for cell in of_purpose if cell["data"] == data]
                for draw in drawn:
                    figure = draw(chosen)
                    if figure is not None:
                        path = Path(folder, f"claim-{draw.__name__}-{data}-{wanted}.svg")
                        figure.savefig(path, metadata={"Date": None})
                        written.append(path)
    return written


# Evidence


def evidence(cells):
    """Draw the areas under the ROC curve by epoch, a panel for each setting and log.

    Parameters
    ----------
    cells : list of dict
        Of one data set and purpose.

    Returns
    -------
    matplotlib.figure.Figure or None
        Means over the seeds. Each setting has its logs below each other. None without scores.
    """
    scored = [cell for cell in cells if cell["scores"]]
    if not scored:
        return None
    n_seeds = len({cell["seed"] for cell in scored})
    settings = in_order(SETTINGS, {cell["setting"] for cell in scored})
    logs = in_order(SCORED, {cell["method"] for cell in scored})
    blocks = np.array_split(settings, -(-len(settings) // MOST_ACROSS["evidence"]))
    across, down = len(blocks[0]), len(blocks) * len(logs)
    figure = empty_figure(
        1.2 + 1.75 * down,
        "How well does each kind of evidence tell right labels from wrong ones?",
        f"{described(scored)}; mean over the seeds",
    )
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for row, (block, log) in zip(panels, ((b, log) for b in blocks for log in logs), strict=True):
        for axes, setting in zip(row, [*block, None], strict=False):
            of_log = [c for c in scored if (c["setting"], c["method"]) == (setting, log)]
            evidence_panel(axes, f"{setting}, {log}", of_log, n_seeds)
    panels[0, 0].set_ylim(top=1)
    label_outer(panels, "epoch", "area under ROC")
    figure.legend(
        handles=evidence_legend(), loc="outside lower left", ncols=3, fontsize=8, frameon=False
    )
    return figure


def evidence_panel(axes, title, cells, n_seeds):
    """Draw the curves of one log, or nothing where it is missing."""
    if not cells:
        axes.set_axis_off()
        return
    found = [cell["scores"] for cell in cells]
    for kind in sorted(found[0]["all"], key=lambda kind: kind in EVIDENCE):
        _, colour, dashes = EVIDENCE.get(kind, ("", OTHER_COLOUR, "-"))
        thick = 1.5 if kind in EVIDENCE else 0.8
        axes.plot(*curve(found, kind), color=colour, ls=dashes, lw=thick, gid=kind)
    selected = cells[0]["anatomy"]["epochs"]
    if selected:
        axes.axvline(selected[0] + 0.5, color="0.6", lw=0.8, zorder=0)
    axes.axhline(0.5, color="0.6", lw=0.8, zorder=0)
    axes.set_title(title, loc="left", fontsize=9)
    if len(cells) < n_seeds:
        remark = f"{len(cells)} of {n_seeds} seeds"
        looks = {"ha": "right", "fontsize": 7, "color": MUTED, "bbox": {"color": "white", "pad": 1}}
        axes.text(0.99, 0.04, remark, transform=axes.transAxes, **looks)
    plain(axes, grid="y")


def curve(scores, kind):
    """Return the epochs that a kind of evidence has areas of, and these, means over the runs."""
    columns = zip(*(of_run["all"][kind] for of_run in scores if kind in of_run["all"]), strict=True)
    found = [
        (epoch, np.mean(known))
        for epoch, column in zip(scores[0]["epochs"], columns, strict=True)
        if (known := [area for area in column if area is not None])
    ]
    return np.array(found).reshape(-1, 2).T


def evidence_legend():
    from matplotlib.lines import Line2D

    return [
        *(
            Line2D([], [], color=of, ls=dashes, label=name)
            for name, of, dashes in EVIDENCE.values()
        ),
        Line2D([], [], color=OTHER_COLOUR, lw=0.8, label=OTHERS),
        Line2D([], [], color="0.6", lw=0.8, label="upright: end of warm-up; level: chance"),
    ]


# Methods


def methods(cells):
    """Draw how far each method is ahead of DivideMix, a panel for each setting.

    Cross-entropy is left out: it is so far behind that nothing else could be told apart.

    Parameters
    ----------
    cells : list of dict
        Of one data set and purpose.

    Returns
    -------
    matplotlib.figure.Figure or None
        Small dots are seeds, bars end at their mean. With several settings the first panel has
        the mean over these and twice its standard error, of methods that were run in all of them.
        None where nothing is to be compared.
    """
    ahead = leads(cells, "dividemix", METHODS.keys() - {"ce", "dividemix"})
    if not ahead:
        return None
    settings = settings_of(ahead)
    limits = shown_range(ahead)
    titles = [*([f"mean of {len(settings)} settings"] if len(settings) > 1 else []), *settings]
    down = -(-len(titles) // MOST_ACROSS["methods"])
    across = -(-len(titles) // down)
    figure = empty_figure(
        1.0 + down * (0.55 + 0.2 * len(ahead)),
        "How many points of test accuracy is each method ahead of DivideMix?",
        described(cells),
    )
    key = "dots: seeds; bars: means; whiskers: two standard errors; arrows: beyond the edge"
    figure.supxlabel(key, x=0.01, ha="left", fontsize=8)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes, title in zip(panels.flat, titles, strict=False):
        axes.set_title(
            title, loc="left", fontsize=9, fontweight="normal" if title in SETTINGS else "bold"
        )
        for place, of_method in enumerate(ahead.values()):
            # Means over few settings beside those over many would compare the settings.
            if title not in SETTINGS and len(of_method) == len(settings):
                mean_row(axes, place, of_method, limits)
            elif title in of_method:
                setting_row(axes, place, of_method[title], limits)
        rows_of(axes, list(ahead), limits)
    for axes in panels.flat[len(titles) :]:
        axes.set_axis_off()
    label_outer(panels)
    return figure


def setting_row(axes, place, points, limits):
    """Draw a method in a setting: its seeds, and a bar to their mean."""
    bar(axes, place, points.mean())
    marks(axes, points, place, limits, "o", 10, "0.25", facecolors="white", linewidths=0.7)


def mean_row(axes, place, of_method, limits):
    """Draw a method's mean over its settings, with twice the standard error where it is known."""
    mean = mean_of(of_method)
    bar(axes, place, mean)
    if not limits[0] <= mean <= limits[1]:
        marks(axes, np.array([mean]), place, limits, "o", 20, "0.25")
    error = standard_error(of_method.values())
    if error is not None:
        axes.errorbar(mean, place, xerr=2 * error, color="0.25", lw=1.2, capsize=2.5)


def bar(axes, place, mean):
    """Draw a bar from 0, and its length beside the axes, beyond which it may go on."""
    colour = TRUSTED if mean > 0 else DISTRUSTED
    axes.barh(place, mean, height=0.55, color=colour, alpha=0.55, zorder=1)
    beside(axes, place, signed(mean))


# Readings


def readings(cells):
    """Draw how far each reading is ahead of VRLVMix as it is, a row for each.

    Parameters
    ----------
    cells : list of dict
        Of one data set and purpose.

    Returns
    -------
    matplotlib.figure.Figure or None
        Small dots are seeds, larger marks their means in a setting, bars the means over the
        settings. None where nothing is to be compared.
    """
    ours = [name for name, method in METHODS.items() if method.trainer == "vrlvmix"]
    ahead = leads(cells, "vrlvmix", set(ours) - {"vrlvmix"})
    if not ahead:
        return None
    settings = settings_of(ahead)
    limits = shown_range(ahead)
    lanes = 0.7 * (np.arange(len(settings)) + 0.5) / len(settings) - 0.35
    figure = empty_figure(
        1.3 + len(ahead) * (0.16 + 0.055 * len(settings)),
        "How many points of test accuracy does another reading, or one part less, gain VRLVMix?",
        f"{described(cells)}; at the right the mean, and in how many settings it is ahead",
    )
    axes = figure.subplots()
    for place, of_method in enumerate(ahead.values()):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="0.96", lw=0, zorder=0)
        mean = np.clip(mean_of(of_method), *limits)
        axes.plot([mean] * 2, [place - 0.42, place + 0.42], color="black", lw=2, zorder=2)
        for setting, lane in zip(settings, lanes, strict=True):
            if setting in of_method:
                reading_lane(axes, place + lane, setting, of_method[setting], limits)
        wins = sum(points.mean() > 0 for points in of_method.values())
        beside(axes, place, signed(mean_of(of_method)))
        beside(axes, place, f"{wins} of {len(of_method)}", offset=38)
    beside(axes, -0.8, "mean")
    beside(axes, -0.8, "ahead in", offset=38)
    rows_of(axes, list(ahead), limits)
    figure.legend(
        handles=readings_legend(settings),
        loc="outside lower left",
        ncols=5,
        fontsize=8,
        frameon=False,
    )
    return figure


def reading_lane(axes, height, setting, points, limits):
    colour, marker = LOOKS[setting]
    if points.size > 1:
        marks(axes, points, height, limits, ".", 14, colour, alpha=0.6, linewidths=0)
    marks(axes, points.mean(keepdims=True), height, limits, marker, 22, colour, linewidths=0)


def readings_legend(settings):
    from matplotlib.lines import Line2D

    def mark(marker, colour, label, size):
        return Line2D([], [], ls="", marker=marker, color=colour, label=label, ms=size)

    looks = {setting: LOOKS[setting] for setting in settings}
    return [
        *(mark(marker, colour, name, 5) for name, (colour, marker) in looks.items()),
        mark("|", "black", "mean of settings", 10),
        mark(".", MUTED, "a seed", 4),
        mark(">", MUTED, "beyond the edge", 5),
    ]


# Both


def settings_of(ahead):
    """Return the settings in which any method is compared."""
    return in_order(SETTINGS, {setting for of_method in ahead.values() for setting in of_method})


def mean_of(of_method):
    """Return the mean over the settings of the means over the seeds."""
    return np.mean([points.mean() for points in of_method.values()])


def shown_range(ahead):
    """Return the ends of the axis: all points but those far out, and zero, with a little air."""
    points = np.concatenate([of for of_method in ahead.values() for of in of_method.values()])
    low, high = np.percentile(points, (25, 75))
    fence = max(3 * (high - low), LEAST_FENCE)
    near = points[(points >= low - fence) & (points <= high + fence)]
    ends = np.array([near.min(initial=0), near.max(initial=0)])
    return ends + 0.06 * max(np.ptp(ends), 0.5) * np.array([-1, 1])


def marks(axes, points, height, limits, marker, size, colour, **looks):
    """Draw marks, and at the edge an arrow for what is beyond."""
    low, high = limits
    for shape, those in (
        (marker, (low <= points) & (points <= high)),
        ("<", points < low),
        (">", points > high),
    ):
        if those.any():
            axes.scatter(
                np.clip(points[those], low, high),
                np.full(those.sum(), height),
                **{"s": size, "marker": shape, "color": colour, "zorder": 3, "clip_on": False}
                | looks,
            )


def signed(points):
    """Return points with their sign, and 0.00 without."""
    return f"{points:+z.2f}".replace("-", "\N{MINUS SIGN}").replace("+0.00", "0.00")


def beside(axes, place, text, offset=6):
    """Write to the right of a row."""
    axes.annotate(
        text,
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(offset, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        annotation_clip=False,
    )


def rows_of(axes, names, limits):
    """Give the axes a row for each name, the first at the top, and a line at zero."""
    axes.set(xlim=limits, ylim=(len(names) - 0.4, -0.6), yticks=range(len(names)))
    axes.set_yticklabels(names)
    axes.axvline(0, color="0.15", lw=1)
    plain(axes, grid="x")
    axes.tick_params(axis="y", length=0)


def label_outer(panels, xlabel="", ylabel=""):
    """Label the lowest panel of each column and the first of each row, of those that are drawn."""
    for column in panels.T:
        for axes in [axes for axes in column if axes.axison][-1:]:
            axes.set_xlabel(xlabel, fontsize=8)
            axes.tick_params(labelbottom=True)
    for row in panels:
        for axes in [axes for axes in row if axes.axison][:1]:
            axes.set_ylabel(ylabel, fontsize=8)
            axes.tick_params(labelleft=True)


def plain(axes, grid):
    axes.grid(axis=grid, color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def described(cells):
    seeds = sorted({cell["seed"] for cell in cells})
    many = "seed" if len(seeds) == 1 else "seeds"
    return f"{cells[0]['data']}, {purpose(cells[0])}, {many} {', '.join(map(str, seeds))}"


def empty_figure(height, title, remark):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=150, layout="constrained")
    figure.suptitle(f"{title}\n{remark}", x=0.01, ha="left", fontsize=10)
    return figure
