"""benchmarks/claim: cells that are made again are the same, and anatomies are right."""

import importlib.util
import itertools
import json
import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noisyselect import (
    ConsensusSelector,
    GMMSelector,
    MixupRecipes,
    Selection,
    TrainingLog,
    VRLVPlusSelector,
    VRLVSelector,
)
from noisyselect.torch import save_features, train
from noisyselect.torch.data import TrainingData
from noisyselect.torch.presets import preset_text

ROOT = Path(__file__).parents[2]
# For the processes that are started, too.
sys.path.insert(0, str(ROOT / "benchmarks" / "claim"))

import anatomy  # noqa: E402
import cell as cells_made  # noqa: E402
import grid  # noqa: E402
import keeping  # noqa: E402
import plots  # noqa: E402
import readings  # noqa: E402
import runner  # noqa: E402
import scores  # noqa: E402
import tables  # noqa: E402

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@pytest.fixture(scope="module")
def regime(tmp_path_factory):
    """800 samples of 4 classes, 6 features in two views."""
    rng = np.random.default_rng(0)

    def features(labels):
        centres = 4 * np.eye(4, 6)[labels][:, None]
        return (centres + rng.normal(size=(labels.size, 2, 6))).astype(np.float32)

    labels, test_labels = np.arange(800) % 4, np.arange(80) % 4
    data = TrainingData(
        inputs=features(labels),
        labels=labels,
        test_inputs=features(test_labels),
        test_labels=test_labels,
        class_names=tuple("abcd"),
        kind="features",
    )
    path = tmp_path_factory.mktemp("data") / "spots.npz"
    save_features(path, data, data.inputs, data.test_inputs)
    return grid.Regime(str(path), epochs=8, device="cpu")


@pytest.fixture
def environment(monkeypatch):
    """What starting processes changes, taken back."""
    for name in THREADS:
        monkeypatch.setenv(name, "1")


def content(folder, cell):
    """Return what no second making may change, with the scores."""
    made = json.loads((folder / cell.path).read_text())
    for name in ("date", "seconds", "epochs_in_seconds"):
        del made[name]
    scored = cells_made.scores_path(folder, cell.path)
    return made, json.loads(scored.read_text()) if scored.exists() else None


@pytest.mark.usefixtures("environment")
def test_a_cell_is_made_in_a_process_then_skipped_tabulated_and_made_again_alike(
    regime, tmp_path, capsys
):
    kept, runs = tmp_path / "kept", tmp_path / "runs"
    # No human labels lie beside these data: that cell fails, and harms no other.
    fails, cell = grid.cells(regime, ["random1", "uneven40"], ["dividemix"], [0])
    assert runner.run([fails, cell], kept, runs, jobs=2) == [fails]
    messages = re.search(r"FAILED: .* see (.*)", capsys.readouterr().err).group(1)
    assert "Human labels of" in Path(messages).read_text()
    assert [path for path in runs.rglob("*") if path.is_file()] == [Path(messages)]

    file = kept / cell.path
    assert file.stat().st_size < 20_000
    before = file.stat().st_mtime_ns
    assert runner.run([cell], kept, runs, jobs=2) == []
    assert file.stat().st_mtime_ns == before
    assert "1 of 1 cells are there" in capsys.readouterr().err

    text = tables.tables(tables.read_cells(kept))
    assert f"| dividemix | {100 * json.loads(file.read_text())['last_5']:.1f} |" in text
    assert "## spots-8epochs, confirming" in text
    assert "the log of dividemix: area under the ROC curve" in text

    cells_made.make(cell, tmp_path / "again", runs)
    assert content(tmp_path / "again", cell) == content(kept, cell)


def test_a_cell_that_was_interrupted_goes_on_and_is_that_of_the_unbroken_run(regime, tmp_path):
    cell = grid.Cell(regime, "sym50", "trusted-first", 1)
    cells_made.make(cell, tmp_path / "unbroken", tmp_path / "runs")

    def interrupt(result):
        if result.epoch == 5:
            raise KeyboardInterrupt

    run_path = (tmp_path / "runs" / cell.path).with_suffix("")
    with pytest.raises(KeyboardInterrupt):
        train(
            cell.data(),
            cell.settings,
            run_path,
            selector=cell.given_selector,
            device="cpu",
            on_epoch=interrupt,
        )
    cells_made.make(cell, tmp_path / "resumed", tmp_path / "runs")
    assert content(tmp_path / "resumed", cell) == content(tmp_path / "unbroken", cell)
    made = json.loads((tmp_path / "resumed" / cell.path).read_text())
    assert made["epochs_in_seconds"] == 2
    assert not run_path.exists()


@pytest.mark.usefixtures("environment")
def test_when_time_is_over_nothing_starts_and_what_runs_is_ended(regime, tmp_path, capsys):
    todo = grid.cells(regime, ["sym50"], ["ce", "vrlvmix"], [0])
    assert runner.run(todo, tmp_path / "kept", tmp_path / "runs", jobs=1, minutes=0) == []
    assert not (tmp_path / "runs").exists()
    # A tenth of a second, in which a process has not even imported torch.
    runner.run(todo, tmp_path / "kept", tmp_path / "runs", jobs=1, minutes=1 / 600)
    assert capsys.readouterr().err.count("2 cells are left") == 2
    assert not (tmp_path / "kept").exists()


def test_the_command_of_a_cell_makes_it_and_no_other(monkeypatch, tmp_path):
    main = main_of("claim/__main__.py")
    made = []
    monkeypatch.setitem(main.__globals__, "run", lambda cells, *_: made.extend(cells) or [])
    regimes = (
        grid.Regime("e20.npz"),
        grid.Regime("digits", epochs=100, augment=True),
        grid.Regime("cifar10", "images", images=True, epochs=300, augment=True, network="x:y"),
        grid.Regime("cifar10", images=True, epochs=24, subset=2000),
    )
    wanted = [grid.Cell(regime, "asym40", "no-enn", 11) for regime in regimes]
    for cell in wanted:
        assert main([*cell.command.split()[2:], "--cells", str(tmp_path)]) == 0
    assert made == wanted


def main_of(name):
    """Return `main` of a program among the benchmarks."""
    spec = importlib.util.spec_from_file_location("program", ROOT / "benchmarks" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_tables_are_of_the_settings_that_are_asked_for(tmp_path, capsys):
    for setting in ("sym50", "asym40"):
        keeping.write_json(tmp_path / "e20" / setting / "ce-0.json", made_up(setting, "ce", 0, 0.5))
    main = main_of("claim/__main__.py")
    assert main(["--table", "--cells", str(tmp_path)]) == 0
    assert "|  | sym50 | asym40 |" in capsys.readouterr().out
    assert main(["--table", "--settings", "asym40", "--cells", str(tmp_path)]) == 0
    assert "|  | asym40 |" in capsys.readouterr().out


def test_digits_have_no_human_labels_and_first_seeds_come_first():
    digits = grid.cells(grid.Regime("digits"), ["random1", "sym50"], ["ce", "vrlvmix"], [0, 1])
    assert [(c.setting, c.method, c.seed) for c in digits] == [
        ("sym50", "ce", 0),
        ("sym50", "vrlvmix", 0),
        ("sym50", "ce", 1),
        ("sym50", "vrlvmix", 1),
    ]


def test_what_is_looked_at_to_choose_is_kept_apart():
    def purpose(data, seed):
        return grid.purpose({"data": data, "seed": seed})

    assert purpose("digits", 0) == purpose("digits-augmented", 0) == "development"
    assert purpose("e20", 10) == "development"
    assert purpose("e20", 2) == purpose("cifar10-2000samples-preact-resnet18", 2) == "confirming"


def test_uneven_noise_rises_with_the_class_and_leaves_the_given_classes_imbalanced():
    transition = grid.uneven(10, 0.4)
    assert transition.sum(axis=1) == pytest.approx(np.ones(10))
    assert 1 - transition.diagonal() == pytest.approx(np.arange(10) * 0.8 / 9)
    given = transition.sum(axis=0)
    assert (given[0], given[9]) == pytest.approx((1 + 4 / 9, 0.2 + 3.2 / 9))


# Anatomy


def test_the_measures_of_a_set_are_those_counted_by_hand():
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    truth = np.array([0, 0, 0, 1, 1, 1, 0, 0])
    log = TrainingLog(labels=labels, losses=[[0.1, 0.2, 3.0, 2.0, 0.3, 4.0, 5.0, 0.4]])
    # Right: 0, 1, 2, 4, 5. The median loss lies between 0.4 and 2: hard are 2 and 5.
    known = anatomy._Known(log, log, truth)
    kept = np.array([1, 1, 1, 1, 1, 0, 0, 1], dtype=bool)
    assert known.measures(kept) == {
        "size": 6,
        "precision": pytest.approx(4 / 6),
        "recall": pytest.approx(4 / 5),
        "hard": pytest.approx(1 / 2),
        "balance": pytest.approx(2 / 4),
    }
    assert known.measures(kept, synthetic=[1])["balance"] == pytest.approx(3 / 4)
    nothing = known.measures(np.zeros(8, dtype=bool))
    assert nothing == {"size": 0, "precision": None, "recall": 0, "hard": 0, "balance": None}

    recipes = MixupRecipes(anchors=[4, 3], partners=[5, 6], lam=[0.6, 0.7], labels=[1, 0])
    selection = Selection(clean=kept, synthetic=recipes)
    assert known.of_synthetic(recipes, selection) == {
        "size": 2,
        "precision": 0.5,
        "partner": 1.0,
        "balance": 1.0,
    }


def logs(n_epochs=7, n=400, seed=0, lr=None):
    """Return two logs of 4 classes, a third of the labels wrong, and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 4
    wrong = rng.random(n) < 1 / 3
    labels = np.where(wrong, (truth + 1) % 4, truth)
    # Of the same class, 4 rows apart.
    near = (np.arange(n)[:, None] + 4 * rng.integers(1, n // 4, (n, 20))) % n

    def one():
        level = np.where(wrong, 2.0, 0.4) * rng.lognormal(0, 0.5, n)
        losses = level * rng.lognormal(0, np.where(wrong, 0.6, 0.2), (n_epochs, n))
        guess = np.where(rng.random((n_epochs, n)) < 0.02, rng.integers(4, size=n), truth)
        return TrainingLog(
            labels=labels, losses=losses, predictions=guess, neighbours=near, n_classes=4, lr=lr
        )

    return one(), one(), truth


def test_the_sets_of_vrlv_make_up_what_each_network_is_trained_on():
    log_a, log_b, truth = logs()
    selector = VRLVSelector(clean_rate=0.7)
    sets = anatomy.taken_apart(selector, log_a, log_b, truth)
    pair = selector.select_pair(log_a, log_b)
    for name, selection in zip("ab", pair, strict=True):
        assert sets[f"D_x_{name}"]["size"] == len(selection)
        assert sets["D_c"]["size"] + sets[f"fill_{name}"]["size"] == len(selection)
        assert sets[f"synthetic_{name}"]["size"] == len(selection.synthetic) > 0
    assert sets["V_c"]["size"] == 280
    assert sets["rescued"]["size"] == 0
    assert sets["D_c"]["size"] <= min(sets["G_l"]["size"], sets["V_c"]["size"])


def test_after_a_change_of_the_rate_the_anatomy_has_what_was_rescued():
    log_a, log_b, truth = logs(lr=[0.1, *[0.01] * 6])
    selector = VRLVSelector(clean_rate=0.7, rescue="printed")
    sets = anatomy.taken_apart(selector, log_a, log_b, truth)
    assert sets["rescued"]["size"] > 0
    assert sets["rescued"]["precision"] < sets["D_c"]["precision"]


def test_with_too_short_a_history_there_is_the_mixture_alone():
    log_a, log_b, truth = logs(n_epochs=3)
    sets = anatomy.taken_apart(VRLVSelector(short_history="gmm"), log_a, log_b, truth)
    assert sets.keys() == {"G_l", "D_x_a", "D_x_b"}


def test_an_anatomy_of_another_selector_than_the_runs_is_refused(regime, tmp_path):
    cell = grid.Cell(regime, "sym50", "vrlvmix", 0)
    result = train(cell.data(), cell.settings, tmp_path / "run", device="cpu")
    run = cells_made.open_run(result.run)
    warm_up = cell.settings.warm_up_epochs
    found = anatomy.anatomy(run, cell.selector, warm_up)
    # The rate drops at epoch 4; three epochs later, the window, the second case of Eq. 6 holds.
    assert found["after_change"] == [
        int(epoch - 4 >= cell.settings.vrlv_window) for epoch in found["epochs"]
    ]
    sets = found["sets"]
    measured = [line["metrics"].get("precision_b") for line in run.epochs[warm_up:]]
    assert keeping.compact(sets["D_x_b"]["precision"]) == keeping.compact(measured)
    with pytest.raises(RuntimeError, match=r"trained on .* but the log gives"):
        anatomy.anatomy(run, replace(cell.selector, balance=False), warm_up)


# Readings


def pair_of(kind, lr=None, **changes):
    log_a, log_b, _ = logs(lr=lr)
    return kind(**{"clean_rate": 0.7} | changes).select_pair(log_a, log_b)


def test_the_literal_argsort_is_the_variance_of_permutations():
    _, log, _ = logs()
    changes = log.losses[1:-1] - log.losses[2:]
    orders = [np.argsort(change, kind="stable") / 399 for change in changes]
    slow = [np.var([order[i] for order in orders]) for i in range(400)]
    assert readings.LiteralArgsort()._variance(log) == pytest.approx(slow)


def test_the_rate_anew_is_that_of_the_last_epoch_whatever_was_fixed():
    for one, other in zip(
        pair_of(readings.RateAnew, clean_rate=0.3),
        pair_of(VRLVSelector, clean_rate=None),
        strict=True,
    ):
        assert one == other


def test_the_fill_of_a_is_first_what_both_rules_trust():
    class OfAll(readings.TrustedFirst, readings.WithoutENN):
        pass

    log_a, log_b, _ = logs()
    selector = OfAll(clean_rate=0.7)
    evidence = selector._gather(log_a, log_b)
    # More stable samples than there is room for, whatever their loss.
    variance = np.random.default_rng(0).random(400)
    evidence = evidence._replace(stable=np.ones(400, dtype=bool), variance=variance)
    core_counts = readings.by_class(log_a, evidence.core)
    first = (evidence, core_counts, log_a.neighbours)
    rest = (log_a, evidence.stable, evidence.variance, evidence.core)
    ours = selector._balanced(*first, 0, *rest)
    quotas = selector._quotas(evidence, core_counts)
    for label in range(4):
        candidates = evidence.stable & ~evidence.core & (log_a.labels == label)
        rows = np.flatnonzero(candidates)
        order = np.lexsort((evidence.variance[rows], ~evidence.small_loss[rows]))
        wanted = rows[order][: quotas[label]]
        assert set(np.flatnonzero((ours.reason == "fill") & candidates)) == set(wanted)
    usual = readings.WithoutENN(clean_rate=0.7)
    assert not np.array_equal(ours.clean, usual._balanced(*first, 0, *rest).clean)
    assert selector._balanced(*first, 1, *rest) == usual._balanced(*first, 1, *rest)


def test_selections_for_dividemix_are_trusted_by_the_peers_evidence():
    own, peer, _ = logs()
    posterior = GMMSelector().select(peer).score
    # The trainer asks with the peer's log first.
    every = readings.BelievedInPart("posterior").select(peer, own)
    assert every.clean.all() and np.array_equal(every.trust, posterior)
    likely = readings.BelievedInPart("probability", networks="both").select(peer, own)
    mean = (np.exp(-own.losses[-1]) + np.exp(-peer.losses[-1])) / 2
    assert likely.clean.all() and likely.trust == pytest.approx(mean)
    usual = ConsensusSelector().select(peer, own)
    kept = readings.TrustedConsensus().select(peer, own)
    assert 0 < len(kept) < len(kept.clean) and np.array_equal(kept.clean, usual.clean)
    assert np.array_equal(kept.trust[kept.clean], posterior[kept.clean])


def test_the_parts_of_the_variant_are_left_out_one_by_one():
    own, peer, _ = logs()
    plus = VRLVPlusSelector().select(peer).trust
    assert readings.BelievedInPart().select(peer, own).trust == pytest.approx(plus)
    cut = readings.BelievedInPart(cut=True).select(peer, own).trust
    assert 0 < (cut == 0).sum() < cut.size
    assert cut == pytest.approx(np.where(plus > 0.5, plus, 0))
    long = readings.BelievedInPart("probability", window=4)
    assert long.history == 4
    assert long.select(peer, own).trust == pytest.approx(np.exp(-peer.losses[-4:]).mean(axis=0))
    losses = (own.losses[-3:] + peer.losses[-3:]).mean(axis=0) / 2
    alone = GMMSelector().select(TrainingLog(labels=own.labels, losses=[losses])).score
    both = readings.BelievedInPart("posterior", networks="both", window=3).select(peer, own)
    assert both.trust == pytest.approx(alone)


def test_readings_leave_out_their_part_and_nothing_else():
    usual = pair_of(VRLVSelector)
    core = usual[0].reason == "core"
    for role in (0, 1):
        bare = pair_of(readings.CoreOnly)[role]
        assert np.array_equal(bare.clean, core) and bare.synthetic is None
        plain = pair_of(readings.WithoutSynthetic)[role]
        assert np.array_equal(plain.clean, usual[role].clean) and plain.synthetic is None
        assert not np.allclose(plain.weights, usual[role].weights)
        unweighted = pair_of(readings.WithoutWeights)[role]
        assert replace(unweighted, weights=usual[role].weights) == usual[role]
        assert np.array_equal(unweighted.weights, usual[role].clean)
        trusting = pair_of(readings.TrustAll)[role]
        assert replace(trusting, trust=usual[role].trust) == usual[role]
        assert np.array_equal(trusting.trust, usual[role].clean)
        doubting = pair_of(readings.TrustPosterior)[role]
        assert replace(doubting, trust=usual[role].trust) == usual[role]
        assert (doubting.trust[core] < 1).any()
        everything = pair_of(readings.WithoutQuotas)[role]
        unbalanced = pair_of(VRLVSelector, balance=False)[role]
        assert np.array_equal(everything.clean, unbalanced.clean)
        assert not np.allclose(everything.weights, unbalanced.weights)


def test_without_enn_the_least_variance_of_each_class_fills_it():
    log_a, log_b, _ = logs()
    selector = readings.WithoutENN(clean_rate=0.5)
    evidence = selector._gather(log_a, log_b)
    ours, _ = selector.select_pair(log_a, log_b)
    for label in range(4):
        of_class = log_a.labels == label
        rows = np.flatnonzero(of_class & evidence.stable & ~evidence.core)
        quota = max(0, 50 - (of_class & evidence.core).sum())
        wanted = rows[np.argsort(evidence.variance[rows])][:quota]
        assert set(np.flatnonzero((ours.reason == "fill") & of_class)) == set(wanted)


def test_without_rescue_nothing_of_large_loss_is_in_the_core():
    lr = [0.1, *[0.01] * 6]
    log_a, log_b, truth = logs(lr=lr)
    sizes = [
        anatomy.taken_apart(kind(clean_rate=0.7), log_a, log_b, truth)["rescued"]["size"]
        for kind in (VRLVSelector, readings.WithoutRescue)
    ]
    assert sizes[0] > 0 and sizes[1] == 0


def test_every_reading_is_made_as_the_trainer_makes_its_own():
    regime = grid.Regime("e20.npz", epochs=20)
    for name, method in readings.METHODS.items():
        cell = grid.Cell(regime, "sym50", name, 3)
        selector = method.selector_for(cell.settings)
        if isinstance(selector, VRLVSelector):
            own = grid.Cell(regime, "sym50", "vrlvmix", 3).selector
            changed = {key: getattr(own, key) for key in method.changes}
            assert VRLVSelector(**vars(replace(selector, **changed))) == own


@pytest.mark.parametrize(
    ("setting", "preset"),
    [
        *((name, f"cifar10-{name}") for name in ("sym20", "sym50", "sym80", "asym40")),
        *((name, f"cifar10n-{name}") for name in ("aggregate", "random1")),
    ],
)
def test_what_depends_on_the_noise_is_what_the_presets_have(setting, preset):
    own = grid.Cell(grid.Regime("e20.npz"), setting, "dividemix", 0).settings
    values = tomllib.loads(preset_text(preset))["settings"]
    for name in ("lambda_u", "confidence_penalty"):
        assert getattr(own, name) == values[name]


def test_clustering_changes_its_settings_and_nothing_else():
    regime = grid.Regime("e20.npz", epochs=20)
    usual = grid.Cell(regime, "sym80", "vrlvmix", 3).settings
    cell = grid.Cell(regime, "sym80", "with-scan", 3)
    assert cell.settings == replace(usual, pretrain_epochs=20, scan="on")
    assert cell.given_selector is None


@pytest.mark.parametrize("part", ["variation", "balance"])
def test_with_clustering_and_without_a_part_the_selector_is_the_same_reading(part):
    regime = grid.Regime("e20.npz", epochs=20)
    name = {"variation": "no-variance", "balance": "no-balance"}[part]
    alone = grid.Cell(regime, "sym80", name, 3)
    clustered = grid.Cell(regime, "sym80", f"with-scan-{name}", 3)
    assert clustered.selector == alone.selector
    assert getattr(clustered.selector, part) is False
    assert replace(clustered.settings, without=()) == replace(
        alone.settings, pretrain_epochs=20, scan="on"
    )


# Scores


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    score, right = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    pairs = [
        1.0 if clean > noisy else 0.5 if clean == noisy else 0.0
        for clean in score[right]
        for noisy in score[~right]
    ]
    assert scores.auroc(score, right) == pytest.approx(np.mean(pairs))
    assert scores.auroc(score, np.ones(60, dtype=bool)) is None


def test_evidence_is_that_of_slow_loops():
    rng = np.random.default_rng(1)
    n_epochs, n = 6, 30
    probabilities = rng.dirichlet(np.ones(3), size=(n_epochs, n))
    labels = rng.integers(0, 3, n)
    rows = np.arange(n)
    predictions = probabilities.argmax(axis=2)
    near = (rows[:, None] + rng.integers(1, n, (n, 4))) % n
    near[5, 2:] = -1
    log = TrainingLog(
        labels=labels,
        losses=-np.log(probabilities[:, rows, labels]),
        predictions=predictions,
        confidences=probabilities.max(axis=2),
        neighbours=near,
    )
    found = dict(scores.evidence(log))
    assert "signed_5" in found and "signed_10" not in found
    for i in range(n):
        margins, events, learnt = [], 0, 0
        for epoch in range(n_epochs):
            own = probabilities[epoch, i, labels[i]]
            other = np.delete(probabilities[epoch, i], labels[i]).max()
            margins.append(own - other if other > own else max(0, 2 * own - 1))
            now = predictions[epoch, i] == labels[i]
            learnt += now
            events += epoch > 0 and not now and predictions[epoch - 1, i] == labels[i]
        assert found["margin"][i] == pytest.approx(np.mean(margins))
        events = events if learnt else n_epochs
        assert found["forgetting"][i] == pytest.approx(-events - (6 - learnt) / 7)
        for kind, said in (("labels", labels), ("predictions", predictions[-1])):
            alike = [j >= 0 and said[j] == labels[i] for j in near[i]]
            assert found[f"neighbour_{kind}"][i] == pytest.approx(np.mean(alike))
        assert found["mean_loss"][i] == pytest.approx(-log.losses[:, i].mean())


def test_many_epochs_are_thinned_out_and_numbers_shortened(tmp_path):
    assert keeping.evenly(5, 30) == [0, 1, 2, 3, 4]
    some = keeping.evenly(290, 30)
    assert (len(some), some[0], some[-1]) == (30, 0, 289)
    keeping.write_json(tmp_path / "a" / "b.json", {"x": [0.123456, float("nan"), 3], "y": {}})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": [0.1235, None, 3], "y": {}}


# Tables


def made_up(setting, method, seed, last_5, best=0.9):
    return {
        "data": "e20",
        "setting": setting,
        "method": method,
        "seed": seed,
        "n_samples": 20_000,
        "noise": {"realised_rate": 0.45},
        "last_5": last_5,
        "best": best,
        "noise_rate": None,
        "curves": {"fitted_wrong_a": [0.1], "fitted_wrong_b": [0.3]},
        "anatomy": {"epochs": [], "sets": {}},
        "scores": None,
    }


def test_differences_are_paired_and_their_error_is_that_of_the_mean_over_settings():
    cells = [
        *(made_up("sym50", "vrlvmix", seed, of) for seed, of in enumerate((0.70, 0.71, 0.72))),
        *(made_up("sym50", "dividemix", seed, of) for seed, of in enumerate((0.69, 0.69, 0.69))),
        *(made_up("asym40", "vrlvmix", seed, of) for seed, of in enumerate((0.60, 0.62))),
        *(made_up("asym40", "dividemix", seed, of) for seed, of in enumerate((0.61, 0.62, 0.5))),
        made_up("sym50", "vrlvmix", 10, 0.1),
    ]
    text = tables.tables(cells)
    confirming, development = text.split("## e20, development")
    # Means 2.0 of 1, 2, 3 and -0.5 of -1, 0; variances 1 / 3 and 0.5 / 2.
    error = np.sqrt(1 / 3 + 0.5 / 2) / 2
    head = f"| vrlvmix | 2 | +0.75 | {error:.2f} | +0.75 | 3 of 5 |  | -0.50 (asym40) |"
    assert head in confirming
    assert "| vrlvmix | 71.0 ± 1.0 | 61.0 ± 1.4 (2) |" in confirming
    assert "| vrlvmix | 10.0 |" in development


def test_the_signed_rank_test_counts_how_many_signs_would_do_as_much():
    leads = np.array([-0.1, 0.3, 0.2, 0.9, 23.0, -0.4, 0.6])
    ranks = 1 + abs(leads).argsort().argsort()
    sums = np.array([np.dot(signs, ranks) for signs in itertools.product((-1, 1), repeat=7)])
    p = np.mean(abs(sums) >= abs(np.dot(np.sign(leads), ranks)))
    assert tables.signed_rank(leads) == f"{p:.2g}" != "1"
    # How far the one run that collapses falls is of no account.
    assert tables.signed_rank(np.where(leads == 23, 1.0, leads)) == tables.signed_rank(leads)
    assert tables.signed_rank(leads[:5]) == ""


def test_the_core_after_a_change_is_that_of_the_epochs_in_which_its_rule_held():
    cell = made_up("sym50", "vrlvmix", 0, 0.5)
    columns = {"size": [10, 20, 30], "precision": [0.1, 0.2, 0.4], "recall": [None] * 3}
    sets = {"D_c": columns, "rescued": {"size": [0, 4, 6], "precision": [None, None, 0.25]}}
    cell["anatomy"] = {"epochs": [4, 5, 6], "after_change": [0, 1, 1], "sets": sets}
    assert "| vrlvmix | 25 | 5 | 30.0 |  |  |  | 25.0 |  |" in tables.tables([cell])


def test_what_a_reading_gains_stands_there_for_each_seed():
    cells = [
        *(made_up("sym50", "vrlvmix", seed, of) for seed, of in enumerate((0.70, 0.71, 0.72))),
        *(made_up("sym50", "no-enn", seed, of) for seed, of in ((2, 0.7), (0, 0.75))),
        made_up("sym50", "dividemix", 0, 0.9),
        made_up("asym40", "no-enn", 0, 0.9),
    ]
    words, table = tables.gains(cells, ["sym50", "asym40"])
    assert "seeds 0, 1, 2." in words
    assert table.splitlines()[2:] == ["| no-enn | +5.0, ·, -2.0 |  |"]
    assert list(tables.gains(cells[:3], ["sym50"])) == []


def test_sets_and_evidence_at_the_end_of_all_settings_stand_beside_each_other():
    cells = [
        scored(made_up("sym50", "vrlvmix", 0, 0.5), last_loss=[0.5, 0.6, 0.7]),
        scored(made_up("sym50", "ce", 0, 0.5), last_loss=[0.1, 0.2, 0.75], consensus=[0.4, 0.3, 1]),
        scored(made_up("sym50", "ce", 1, 0.5), last_loss=[0.1, 0.2, 0.25]),
        made_up("asym40", "vrlvmix", 0, 0.5),
    ]
    cells[1]["scores"]["large_loss"] = {"last_loss": [0, 0, 0.125]}
    cells[0]["anatomy"]["sets"] = {"D_c": {"size": [9, 1200], "precision": [0, 0.5], "recall": []}}
    settings = ["sym50", "asym40"]
    _, table = tables.sets_in_the_end(cells, settings)
    assert table.splitlines()[2:] == ["| D_c, size | 1,200 |  |", "| D_c, precision | 50.0 |  |"]
    said, table = tables.evidence_in_the_end(cells, settings)
    assert "logs of ce," in said
    assert table.splitlines()[2:] == [
        "| last_loss | 0.500 / 0.125 |  |",
        "| consensus | 1.000 |  |",
    ]


def test_a_setting_in_which_cross_entropy_does_not_memorise_is_marked():
    falls = [made_up("sym50", "ce", 0, 0.5, 0.6), made_up("sym20", "ce", 0, 0.59, 0.6)]
    assert "| fall of cross-entropy | 1.0 (does not count) | 10.0 |" in tables.tables(falls)


# Plots


def scored(cell, **curves):
    """Return a cell with areas under the ROC curve after 5, 10 and 15 epochs."""
    areas = {name: list(values) for name, values in curves.items()}
    cell["scores"] = {"epochs": [5, 10, 15], "all": areas, "large_loss": {}}
    return cell


def test_it_is_counted_how_often_the_variance_is_behind_the_losses():
    first = scored(
        made_up("sym50", "ce", 0, 0.5),
        signed_5=[None, 0.6, 0.9],
        absolute_5=[None, 0.5, 0.95],
        last_loss=[0.9, 0.7, 0.8],
        mean_loss=[0.9, 0.7, 0.96],
    )
    second = scored(
        made_up("sym50", "ce", 1, 0.5), signed_3=[0.5] * 3, last_loss=[0.4] * 3, mean_loss=[0.5] * 3
    )
    (said,) = tables.variance_beside_losses([first, second, made_up("sym50", "ce", 2, 0.5)])
    assert said.startswith("Of 5 epochs of logs")
    assert said.endswith("that of the last loss at 1 and below that of the mean loss at 2.")
    assert list(tables.variance_beside_losses([made_up("sym50", "ce", 2, 0.5)])) == []


def lines_of(axes):
    return {line.get_gid(): line.get_xydata().tolist() for line in axes.lines if line.get_gid()}


def visible(figure):
    return {axes.get_title("left"): axes for axes in figure.axes if axes.axison}


def beside(axes):
    """Return what stands to the right of each row."""
    return [text.get_text() for text in axes.texts]


def test_each_log_has_a_panel_with_the_mean_over_its_seeds():
    cells = [
        scored(made_up("asym40", "ce", 0, 0.5), signed_10=[None, 0.5, 0.75], margin=[0.5] * 3),
        scored(made_up("asym40", "ce", 1, 0.5), signed_10=[None, 0.75, None], margin=[0.5] * 3),
        scored(made_up("sym50", "dividemix", 0, 0.5), consensus=[0.75, None, 0.5]),
        made_up("sym50", "ce", 0, 0.5),
    ]
    cells[0]["anatomy"]["epochs"] = [10, 11]
    figure = plots.evidence(cells)
    panels = visible(figure)
    assert list(panels) == ["asym40, ce", "sym50, dividemix"]
    assert lines_of(panels["asym40, ce"]) == {
        "signed_10": [[10, 0.625], [15, 0.75]],
        "margin": [[5, 0.5], [10, 0.5], [15, 0.5]],
    }
    assert lines_of(panels["sym50, dividemix"]) == {"consensus": [[5, 0.75], [15, 0.5]]}
    assert beside(panels["asym40, ce"]) == []
    assert beside(panels["sym50, dividemix"]) == ["1 of 2 seeds"]
    warm_up = [line for line in panels["asym40, ce"].lines if set(line.get_xdata()) == {10.5}]
    assert len(warm_up) == 1
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named[:7] == [name for name, _, _ in plots.EVIDENCE.values()]


@pytest.mark.parametrize("n_settings", [1, 3, 4, 5, 6, 8])
def test_any_number_of_settings_has_its_panels(n_settings):
    settings = list(grid.SETTINGS)[:n_settings]
    cells = [
        scored(made_up(setting, method, 0, 0.5), last_loss=[0.5, 0.6, 0.7])
        for setting in settings
        for method in ("ce", "dividemix", "vrlvmix")
    ]
    means = {f"mean of {n_settings} settings"} if n_settings > 1 else set()
    for figure, panels in (
        (plots.evidence(cells), {f"{s}, {log}" for s in settings for log in ("ce", "dividemix")}),
        (plots.methods(cells), means | set(settings)),
    ):
        drawn = visible(figure)
        assert drawn.keys() == panels
        # The lowest of each column has numbers at its axis.
        columns = {axes.get_subplotspec().colspan.start: axes for axes in drawn.values()}
        for axes in columns.values():
            assert any(label.get_text() for label in axes.get_xticklabels())


def points_of(axes):
    """Return the places of all marks, as they were given: a list per row."""
    places = np.concatenate([marks.get_offsets() for marks in axes.collections])
    n_rows = len(axes.get_yticks())
    return [sorted(x for x, y in places.tolist() if round(y) == row) for row in range(n_rows)]


def test_methods_have_their_seeds_and_means_of_each_setting():
    cells = [
        *(made_up("sym50", "dividemix", seed, of) for seed, of in enumerate((0.69, 0.69, 0.69))),
        *(made_up("sym50", "vrlvmix", seed, of) for seed, of in enumerate((0.70, 0.71, 0.72))),
        *(made_up("sym50", "consensus", seed, of) for seed, of in enumerate((0.68, 0.69))),
        *(made_up("asym40", "dividemix", seed, of) for seed, of in enumerate((0.60, 0.60))),
        *(made_up("asym40", "vrlvmix", seed, of) for seed, of in enumerate((0.59, 0.60))),
        made_up("sym50", "ce", 0, 0.1),
        # Without its rival.
        made_up("sym80", "vrlvmix", 0, 0.1),
    ]
    panels = visible(plots.methods(cells))
    assert list(panels) == ["mean of 2 settings", "sym50", "asym40"]
    names = [label.get_text() for label in panels["mean of 2 settings"].get_yticklabels()]
    assert names == ["consensus", "vrlvmix"]
    assert points_of(panels["sym50"]) == [pytest.approx([-1, 0]), pytest.approx([1, 2, 3])]
    assert points_of(panels["asym40"]) == [[], pytest.approx([-1, 0])]
    bars = [bar.get_width() for bar in panels["sym50"].patches]
    assert bars == pytest.approx([-0.5, 2])
    minus = "\N{MINUS SIGN}"
    assert beside(panels["sym50"]) == [f"{minus}0.50", "+2.00"]
    assert beside(panels["asym40"]) == [f"{minus}0.50"]
    # Of the method that was run in one of them there is no mean.
    assert beside(panels["mean of 2 settings"]) == ["+0.75"]
    # Whiskers of two standard errors, those of the tables.
    whisker = panels["mean of 2 settings"].containers[-1].lines[2][0].get_segments()[0]
    error = np.sqrt(1 / 3 + 0.5 / 2) / 2
    assert whisker[:, 0] == pytest.approx([0.75 - 2 * error, 0.75 + 2 * error])


def test_what_is_far_out_stands_at_the_edge_with_its_true_length_beside_it():
    cells = [
        made_up(setting, method, 0, of)
        for setting in ("sym20", "sym50", "asym40")
        for method, of in (("dividemix", 0.7), ("vrlvmix", 0.701), ("coteaching", 0.7))
    ]
    cells[2]["last_5"] = 0.4
    panels = visible(plots.methods(cells))
    left, right = panels["sym20"].get_xlim()
    assert -0.2 < left < 0 < 0.1 < right < 0.2
    assert points_of(panels["sym20"]) == [[left], pytest.approx([0.1])]
    assert beside(panels["sym20"])[0] == "\N{MINUS SIGN}30.00"
    assert beside(panels["sym50"])[0] == "0.00"


def test_readings_have_a_row_each_with_the_mean_over_the_settings():
    cells = [
        *(made_up("sym50", "vrlvmix", seed, 0.6) for seed in (10, 11)),
        *(made_up("sym50", "no-enn", 10 + i, of) for i, of in enumerate((0.61, 0.62))),
        made_up("asym40", "vrlvmix", 10, 0.6),
        made_up("asym40", "no-enn", 10, 0.595),
        made_up("asym40", "window-3", 10, 0.605),
        # These are no readings.
        made_up("asym40", "dividemix", 10, 0.9),
        made_up("asym40", "all-posterior", 10, 0.9),
    ]
    figure = plots.readings(cells)
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["window-3", "no-enn"]
    # With a single seed there is its mark alone; of two, each and their mean.
    assert points_of(axes) == [pytest.approx([0.5]), pytest.approx([-0.5, 1, 1.5, 2])]
    means = [line.get_xdata()[0] for line in axes.lines[:2]]
    assert means == pytest.approx([0.5, 0.5])
    assert beside(axes) == ["+0.50", "1 of 1", "+0.50", "1 of 2", "mean", "ahead in"]
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named[:3] == ["sym50", "asym40", "mean of settings"]


def test_plots_are_written_of_the_cells_there_are_and_alike_each_time(tmp_path, capsys):
    kept = tmp_path / "kept"
    made = [
        made_up("sym50", "dividemix", 0, 0.6),
        made_up("sym50", "vrlvmix", 0, 0.6),
        # For choosing, with no other reading beside it.
        made_up("sym50", "vrlvmix", 10, 0.6),
        *(made_up("sym50", name, 0, 0.6) | {"data": "digits"} for name in ("vrlvmix", "no-enn")),
    ]
    for one in made:
        name = f"{one['method']}-{one['seed']}.json"
        keeping.write_json(kept / one["data"] / one["setting"] / name, one)
    areas = {"epochs": [1], "all": {"margin": [0.7]}, "large_loss": {"margin": [0.6]}}
    keeping.write_json(kept / "e20" / "sym50" / "scores" / "dividemix-0.json", areas)

    main, written = main_of("claim/__main__.py"), []
    for folder in (tmp_path / "once", tmp_path / "again"):
        assert main(["--plots", str(folder), "--cells", str(kept)]) == 0
        assert capsys.readouterr().out.split() == [str(path) for path in sorted(folder.iterdir())]
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert sorted(written[0]) == [
        "claim-evidence-e20-confirming.svg",
        "claim-methods-e20-confirming.svg",
        "claim-readings-digits-development.svg",
    ]


def test_the_cells_in_the_repository_are_small_and_say_how_they_were_made():
    for path in (ROOT / "benchmarks" / "claim" / "cells").glob("**/*.json"):
        assert path.stat().st_size < 20_000, path
    for made in tables.read_cells(ROOT / "benchmarks" / "claim" / "cells"):
        assert {"command", "versions", "hardware", "date", "seconds"} <= made.keys()
        assert made["setting"] in grid.SETTINGS and made["method"] in readings.METHODS


def test_the_tables_of_the_reproduction_are_made_of_cells_too(tmp_path, capsys):
    for method, seed, accuracies in (
        ("ce", 0, [0.7, *[0.5] * 20]),
        ("ce", 1, [0.8, *[0.6] * 20]),
        ("vrlvmix-plus", 0, [0.6, *[0.7] * 20]),
        ("vrlvmix-plus", 1, [0.6, *[0.72] * 20]),
        ("vrlvmix-plus", 10, [0.1] * 21),
        ("vrlvmix", 0, [0.6] * 21),
        ("no-balance", 0, [0.4] * 21),
        ("with-scan", 0, [0.3] * 21),
        ("plus-cut", 0, [0.6] * 21),
    ):
        cell = made_up("sym50", method, seed, 0.0)
        cell["curves"] = {
            "test_accuracy": accuracies,
            "fitted_wrong_a": [0.9, 0.1],
            "fitted_wrong_b": [0.9, 0.3],
        }
        if method != "ce":
            of_a = {"precision": [0.1, 0.9], "recall": [0.1, 0.6]}
            of_b = {"precision": [0.1, None], "recall": [0.1, 0.7]}
            cell["anatomy"]["sets"] = {"D_x_a": of_a, "D_x_b": of_b}
        keeping.write_json(tmp_path / "sym50" / f"{method}-{seed}.json", cell)
    main_of("reproduction.py")([str(tmp_path / "sym50")])
    text = capsys.readouterr().out
    assert "**sym50**: 20,000 samples, 45.0 % wrong labels. Cross-entropy memorised" in text
    assert text.splitlines()[-4:-1] == [
        "| cross-entropy | 55.0 ± 7.1 | 75.0 ± 7.1 | 20.0 ± 0.0 |  |  |  |",
        "| VRLVMix | 60.0 | 60.0 | 20.0 | 90.0 |  | 65.0 |",
        "| VRLVMix plus | 71.0 ± 1.4 | 71.0 ± 1.4 | 20.0 ± 0.0 | 90.0 ± 0.0 |  | 65.0 ± 0.0 |",
    ]
    main_of("reproduction.py")(["--ablations", str(tmp_path / "sym50")])
    assert capsys.readouterr().out.splitlines()[-5:-1] == [
        "| cross-entropy | 55.0 ± 7.1 | 75.0 ± 7.1 | 20.0 ± 0.0 |  |  |  |",
        "| VRLVMix | 30.0 | 30.0 | 20.0 | 90.0 |  | 65.0 |",
        "| VRLVMix without balancing and SCAN | 40.0 | 40.0 | 20.0 | 90.0 |  | 65.0 |",
        "| VRLVMix without SCAN | 60.0 | 60.0 | 20.0 | 90.0 |  | 65.0 |",
    ]


def test_what_compare_left_has_its_own_rows_with_or_without_the_option(tmp_path, capsys):
    measures = ("last_5", "best", "fitted_wrong", "precision_a", "precision_b", "recall")
    left = {
        "data": {"n_samples": 100},
        "realised_noise_rates": [0.5],
        "memorisation": "Memorised.",
        "methods": [
            {"method": name, "measures": {key: [0.5] for key in measures}}
            for name in ("dividemix", "vrlvmix", "vrlvmix without vrlv")
        ],
    }
    keeping.write_json(tmp_path / "compare.json", left)
    for options in ([], ["--ablations"]):
        main_of("reproduction.py")([*options, str(tmp_path)])
        rows = capsys.readouterr().out.splitlines()[-4:-1]
        names = [row.split(" | ")[0] for row in rows]
        assert names == ["| DivideMix", "| VRLVMix", "| VRLVMix without vrlv"]
