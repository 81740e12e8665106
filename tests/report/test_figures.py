"""What the figures of a report say is recounted here, sample by sample."""

import numpy as np
import pytest
from small_runs import LABELS, N_CLASSES, TRUTH, write_run

from noisyselect.report import figures
from noisyselect.report.evidence import gather
from noisyselect.report.wording import percent

NAMES = ["first", "second", "third"]
RIGHT = LABELS == TRUTH


@pytest.fixture(scope="module")
def evidence(run):
    return gather(run, "auto", None)


def test_the_cross_table_counts_pairs_and_leaves_out_what_is_none():
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 4, 200), rng.integers(-1, 4, 200)
    table = figures.cross_table(rows.astype(np.int8), columns.astype(np.int8), 4)
    for i in range(4):
        for j in range(4):
            assert table[i, j] == sum(pair == (i, j) for pair in zip(rows, columns, strict=True))


def test_the_most_frequent_disagreements_stand_first(evidence):
    pairs = figures.confused_pairs(evidence)
    assert [n for *_, n in pairs] == sorted((n for *_, n in pairs), reverse=True)
    predicted = evidence.predicted.label
    for given, other, n in pairs:
        assert given != other
        assert n == np.count_nonzero((given == LABELS) & (predicted == other)) > 0
    figure = figures.confusion(evidence, NAMES)
    given, other, n = pairs[0]
    assert f"{NAMES[given]}, predicted as {NAMES[other]}, {n} times" in figure.caption
    assert percent(np.mean(predicted != LABELS)) in figure.caption


def test_the_extremes_among_classes_are_named(evidence):
    kept = [np.count_nonzero(evidence.selection.clean & (c == LABELS)) for c in range(N_CLASSES)]
    wrong = [
        np.count_nonzero(evidence.selection.clean & (c == LABELS) & ~RIGHT) / kept[c]
        for c in range(N_CLASSES)
    ]
    caption = figures.per_class(evidence, NAMES).caption
    assert f"between {min(kept)} ({NAMES[int(np.argmin(kept))]})" in caption
    assert f"{max(kept)} samples ({NAMES[int(np.argmax(kept))]})" in caption
    assert f"{NAMES[int(np.argmax(wrong))]}: {percent(max(wrong))}" in caption


def test_many_classes_are_sorted_and_not_named(tmp_path):
    evidence = gather(write_run(tmp_path / "run", n_classes=60), "gmm", None)
    figure = figures.per_class(evidence, [f"name {i}" for i in range(60)])
    assert "name 7" not in figure.panels[0]
    assert "sorted by what is kept" in figure.caption


def test_the_fitted_gaussians_are_in_nats(evidence):
    caption = figures.losses(evidence).caption
    losses = evidence.log.losses[-1]
    assert f"at {losses[RIGHT].mean():.2f} nats, holds {percent(0.8)}" in caption
    assert f"stands at {losses[~RIGHT].mean():.2f}" in caption
    assert f"{np.median(losses[~RIGHT]):.2f} for wrongly labelled" in caption


def test_rescued_is_what_is_kept_though_its_loss_is_large(evidence):
    rescued = evidence.selection.clean & ~evidence.selections["gmm"].clean
    assert rescued.any()
    caption = figures.trajectories(evidence).caption
    assert (
        f"{np.count_nonzero(rescued)} samples, {percent(RIGHT[rescued].mean())} of them" in caption
    )


def test_small_loss_itself_rescues_nothing(run):
    figure = figures.trajectories(gather(run, "gmm", None))
    assert len(figure.panels) == 2 and "escued" not in figure.caption


def test_the_map_says_how_many_labels_are_improbable_and_dropped(evidence):
    hard = evidence.mean_trust < 0.5
    caption = figures.data_map(evidence).caption
    assert caption.startswith(f"In {percent(hard.mean())} of the samples")
    assert f"drops {percent(np.mean(~evidence.selection.clean[hard]))} of them" in caption
    assert f"Of them {percent(np.mean(~RIGHT[hard]))} are wrong" in caption


def test_the_best_selector_is_named(evidence):
    last = {rule: curve[-1] for rule, curve in evidence.curves["auroc"].items()}
    caption = figures.over_epochs(evidence).caption
    assert f"vrlv has an AUROC of {last['vrlv']:.3f}" in caption
    assert f"{max(last.values()):.3f}" in caption


def test_a_long_name_is_cut():
    assert figures.shortened("short", 5) == "short"
    assert figures.shortened("longer", 5) == "long…"
