"""Comparisons: what is trained, summarised, written and drawn."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import noisyselect.torch.jobs as jobs_module
from noisyselect import open_run
from noisyselect.errors import NoisySelectError
from noisyselect.torch import EpochResult, MethodSummary, Settings, compare, load_data
from noisyselect.torch.compare import (
    ablations,
    comparison_figure,
    memorisation,
    short_name,
    variant,
    write_comparison,
)
from noisyselect.torch.jobs import Job, run_jobs

# After so few epochs a class may well stay empty; that is tested where it belongs.
pytestmark = pytest.mark.filterwarnings("ignore::noisyselect.errors.DegenerateWarning")

SHORT = Settings(epochs=2, warm_up=1, augment=False, batch_size=32)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", subset=150)


def summary(method, accuracy, seeds=(0,), **curves):
    accuracy = np.array(accuracy, dtype=float)
    undefined = np.full_like(accuracy, np.nan)
    names = ("fitted_wrong", "precision_a", "precision_b", "recall_a", "recall_b")
    full = {name: np.array(curves.get(name, undefined), dtype=float) for name in names}
    return MethodSummary(method, seeds, {"test_accuracy": accuracy, **full}, (0.4,) * len(seeds))


@pytest.mark.parametrize(
    ("name", "method", "without"),
    [
        ("ce", "ce", ()),
        ("vrlvmix", "vrlvmix", ()),
        ("vrlvmix without vrlv", "vrlvmix", ("vrlv",)),
        ("vrlvmix without balancing and scan", "vrlvmix", ("balancing", "scan")),
    ],
)
def test_a_method_is_named_as_in_the_tables(name, method, without):
    base = Settings(method="vrlvmix", without=("scan",), lr=0.5)
    assert variant(name, base) == Settings(method=method, without=without, lr=0.5)


@pytest.mark.parametrize("name", ["vrlv", "vrlvmix without", "vrlvmix without ce", "", "CE"])
def test_an_unknown_method_is_answered_with_the_known_ones(name):
    with pytest.raises(ValueError, match="A method must be one of vrlvmix, vrlvmix-plus"):
        variant(name, Settings())


def test_a_part_is_left_out_of_vrlvmix_alone():
    with pytest.raises(ValueError, match="`without` leaves out parts"):
        variant("dividemix without scan", Settings())


def test_the_ablations_are_the_rows_of_table_4():
    rows = ablations(Settings(pretrain_epochs=1, scan="on"))
    assert [variant(row, Settings()).without for row in rows] == [
        ("vrlv",),
        ("balancing",),
        ("balancing", "scan"),
        ("scan",),
    ]


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(scan="off", pretrain_epochs=5), Settings(method="ce")]
)
def test_what_has_no_semantic_clustering_is_not_ablated_of_it(settings):
    assert ablations(settings) == ["vrlvmix without vrlv", "vrlvmix without balancing"]


def test_measures_follow_from_the_curves():
    accuracy = np.array([[0.1, 0.9, 0.5, 0.5, 0.6, 0.7, 0.7], [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]])
    last = np.linspace(0, 1, 14).reshape(2, 7)
    made = summary("ce", accuracy, (0, 1), fitted_wrong=last, recall_a=last, recall_b=last / 2)
    assert made.measures["best"].tolist() == [0.9, 0.8]
    assert made.measures["last"].tolist() == [0.7, 0.8]
    assert made.measures["last_5"] == pytest.approx([0.6, 0.6])
    assert made.measures["fitted_wrong"].tolist() == last[:, 6].tolist()
    assert made.measures["recall"] == pytest.approx(0.75 * last[:, 6])
    assert np.isnan(made.measures["precision_a"]).all()


@pytest.mark.parametrize(
    ("last", "said"),
    [(0.60, "Cross-entropy memorised"), (0.77, "memorised"), (0.78, "hardly memorised")],
)
def test_cross_entropy_memorised_where_it_falls_by_three_points(last, said):
    assert said in memorisation([summary("ce", [[0.8] + [last] * 5])])


def test_a_setting_that_memorises_nothing_is_said_to_judge_nothing():
    assert "cannot judge any method" in memorisation([summary("ce", [[0.7] * 9])])


def test_without_cross_entropy_memorisation_is_open():
    assert "is open" in memorisation([summary("vrlvmix", [[0.7] * 9])])


def test_a_comparison_trains_each_method_on_the_labels_of_its_seed(digits, tmp_path):
    seen = []
    made = compare(
        digits,
        ["ce", "vrlvmix without balancing"],
        SHORT,
        tmp_path,
        noise="sym",
        rate=0.4,
        seeds=(3, 5),
        on_epoch=lambda *what: seen.append(what),
    )
    assert [one.method for one in made] == ["ce", "vrlvmix without balancing"]
    assert [(name, seed, epoch.epoch) for name, seed, epoch in seen] == [
        (one.method, seed, epoch) for one in made for seed in (3, 5) for epoch in (0, 1)
    ]
    runs = [
        open_run(tmp_path / f"{name}-seed{seed}")
        for name in ("ce", "vrlvmix-without-balancing")
        for seed in (3, 5)
    ]
    assert np.array_equal(runs[0].labels, runs[2].labels)
    assert not np.array_equal(runs[0].labels, runs[1].labels)
    assert runs[2].settings["without"] == ["balancing"]
    rates = [np.mean(run.labels != run.truth) for run in runs[:2]]
    assert made[0].realised_rates == made[1].realised_rates == pytest.approx(rates)
    for one, of_seeds in zip(made, (runs[:2], runs[2:]), strict=True):
        written = [[line["metrics"]["test_accuracy"] for line in run.epochs] for run in of_seeds]
        assert one.curves["test_accuracy"].tolist() == written
    assert np.isnan(made[0].curves["precision_a"]).all()
    assert np.isfinite(made[1].curves["precision_a"][:, 1]).all()


def test_without_noise_the_labels_are_those_of_the_data(blobs, tmp_path):
    (made,) = compare(blobs, ["ce"], SHORT, tmp_path, seeds=[0])
    assert np.array_equal(open_run(tmp_path / "ce-seed0").labels, blobs.labels)
    assert made.realised_rates == (np.mean(blobs.labels != blobs.true_labels),)


@pytest.mark.parametrize(
    ("methods", "seeds", "message"),
    [
        (["ce", "ce"], (0,), "`methods` must each stand once"),
        ([], (0,), "`methods` must hold at least one"),
        (["ce"], (1, 1), "`seeds` must each stand once"),
        (["ce"], (), "`seeds` must hold at least one"),
    ],
)
def test_methods_and_seeds_stand_once(digits, tmp_path, methods, seeds, message):
    with pytest.raises(ValueError, match=message):
        compare(digits, methods, SHORT, tmp_path, seeds=seeds)
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_come_to_the_same_as_one_after_another(digits, tmp_path):
    reported = {"one": [], "two": []}
    made = {
        name: compare(
            digits,
            ["ce", "dividemix"],
            SHORT,
            tmp_path / name,
            noise="sym",
            rate=0.4,
            seeds=[0],
            jobs=count,
            on_epoch=lambda *what, name=name: reported[name].append(what),
        )
        for name, count in (("one", 1), ("two", 2))
    }
    assert sorted(reported["one"], key=str) == sorted(reported["two"], key=str)
    for one, two in zip(made["one"], made["two"], strict=True):
        assert one.realised_rates == two.realised_rates
        for name, values in one.curves.items():
            np.testing.assert_array_equal(values, two.curves[name])
    for method in ("ce", "dividemix"):
        logs = [open_run(tmp_path / name / f"{method}-seed0").log("b") for name in ("one", "two")]
        assert np.array_equal(logs[0].losses, logs[1].losses)


def test_a_failed_training_is_named_and_the_others_are_finished(digits, tmp_path):
    def training(lr, name, **other):
        settings = replace(SHORT, method="ce", lr=lr, **other)
        return Job(digits, settings, tmp_path / name, tmp_path / "pretrained", "cpu")

    todo = {
        ("ce", 0): training(1e30, "diverges"),
        ("ce", 1): training(0.02, "runs"),
        ("ce", 2): training(0.02, "absent", network="nowhere:network"),
    }
    with pytest.raises(NoisySelectError) as raised:
        run_jobs(todo, 3)
    message = str(raised.value)
    assert message.startswith("2 of 3 trainings failed. ")
    assert "ce, seed 0: NonFiniteLossError: The loss" in message
    assert "ce, seed 2: " in message
    assert "ce, seed 1" not in message
    assert open_run(tmp_path / "runs").n_epochs == 2


def test_a_process_that_dies_is_named_with_its_status(digits, tmp_path):
    dying = tmp_path / "dying.py"
    dying.write_text("import os\ndef network(n_classes):\n    os._exit(7)\n")
    settings = replace(SHORT, method="ce", network="dying:network")
    todo = {("ce", 0): Job(digits, settings, tmp_path / "run", tmp_path, "cpu")}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        with pytest.raises(NoisySelectError, match="ce, seed 0: its process ended with status 7"):
            run_jobs(todo, 2)


def test_jobs_are_at_least_one():
    with pytest.raises(ValueError, match="`jobs` must be at least 1, got 0"):
        run_jobs({}, 0)


def test_only_one_training_at_a_time_pre_trains_anew(digits, tmp_path):
    def training(method, pretrain_epochs):
        settings = Settings(method=method, pretrain_epochs=pretrain_epochs)
        return Job(digits, settings, tmp_path, tmp_path, "cpu")

    todo = {
        ("vrlvmix", 0): training("vrlvmix", 5),
        ("vrlvmix", 1): training("vrlvmix", 5),
        ("ce", 0): training("ce", 5),
    }
    pool = jobs_module._Pool(todo, 3, lambda *_: None)
    pool.waiting.remove(("vrlvmix", 0))
    pool.running[object()] = ("vrlvmix", 0), None
    assert pool._next() == ("ce", 0)
    pool.pretrained = True
    assert pool._next() == ("vrlvmix", 1)


def test_all_figures_are_written_as_json_without_nan(tmp_path):
    made = [
        summary("ce", [[0.5, 0.25], [0.75, 0.5]], (0, 1)),
        summary("vrlvmix", [[0.5, 0.6], [0.7, 0.8]], (0, 1), precision_a=[[math.nan, 0.9]] * 2),
    ]
    path = write_comparison(tmp_path / "new", made, Settings(lr=0.5), {"name": "digits"})
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert path.name == "compare.json"
    assert content["data"] == {"name": "digits"}
    assert content["settings"]["lr"] == 0.5
    assert content["seeds"] == [0, 1]
    assert content["realised_noise_rates"] == [0.4, 0.4]
    assert [row["method"] for row in content["methods"]] == ["ce", "vrlvmix"]
    assert content["methods"][0]["measures"]["best"] == [0.5, 0.75]
    assert content["methods"][1]["curves"]["precision_a"] == [[None, 0.9], [None, 0.9]]
    assert [file.name for file in path.parent.iterdir()] == ["compare.json"]


def test_the_figure_has_accuracy_precision_and_recall():
    share = [[math.nan, 0.5, 0.75]]
    made = [
        summary("ce", [[0.5, 0.6, 0.7]]),
        summary(
            "vrlvmix without scan",
            [[0.5, 0.6, 0.8]],
            **dict.fromkeys(("precision_a", "recall_a"), share),
            **{key: [[math.nan, 1.0, 1.0]] for key in ("precision_b", "recall_b")},
        ),
    ]
    figure = comparison_figure(made, warm_up=1)
    accuracy, precision, recall = figure.axes
    # And the line that marks the end of warm-up.
    assert [len(axes.lines) for axes in figure.axes] == [3, 2, 2]
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [50, 60, 80])
    for axes in (precision, recall):
        np.testing.assert_allclose(axes.lines[0].get_xydata(), [[2, 75], [3, 87.5]])
        assert axes.lines[0].get_color() == accuracy.lines[1].get_color()
    assert "seed 0" in accuracy.get_title(loc="left")


def test_ablations_are_named_by_what_is_missing_only_beside_vrlvmix():
    whole, part = summary("vrlvmix", [[1.0]]), summary("vrlvmix without scan", [[1.0]])
    assert short_name(part.method, [whole, part]) == "without scan"
    assert short_name(part.method, [part]) == "vrlvmix without scan"
    assert short_name(whole.method, [whole, part]) == "vrlvmix"


def test_an_epoch_without_measures_is_undefined_and_not_zero(digits, tmp_path, monkeypatch):
    class Result:
        epochs = (EpochResult(0, "warm-up", 0.1, 0.5, {}),)

    monkeypatch.setattr(jobs_module, "train", lambda *_, **__: Result())
    (made,) = compare(digits, ["ce"], SHORT, tmp_path, seeds=[0])
    assert np.isnan(made.curves["fitted_wrong"]).all()
    assert made.measures["best"].tolist() == [0.5]
    assert np.isnan(made.realised_rates).all()
