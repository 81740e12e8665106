"""The commands that train, as a user types them."""

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from noisyselect import open_run
from noisyselect.cli import app

# After so few epochs a class may well stay empty; that is tested where it belongs.
pytestmark = [
    pytest.mark.usefixtures("environment"),
    pytest.mark.filterwarnings("ignore::noisyselect.errors.DegenerateWarning"),
]


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """A folder of its own, and no trace of the number of threads that the demo sets."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)


def on_digits(*words):
    return run("train", "--data", "digits", "--subset", 200, "--out", "run", *words)


@pytest.mark.parametrize("method", ["vrlvmix", "dividemix", "ce"])
def test_train_leaves_a_run_directory_and_says_how_good_it_is(method):
    result = on_digits(
        "--noise", "sym", "--noise-rate", 0.4, "--method", method, "--epochs", 4, "--seed", 3
    )
    assert result.exit_code == 0, result.output
    assert f"{method} epoch 4/4" in result.output
    assert "selection" in result.output
    log = open_run("run")
    assert log.n_epochs == 4
    assert log.settings["seed"] == 3
    assert log.settings["augment"] is False
    assert log.settings["noise"]["nominal_rate"] == 0.4
    shown = run("info", "run").output
    assert "4 of 4" in shown
    last = log.epochs[-1]["metrics"]["test_accuracy"]
    assert f"{last:.1%} last" in shown


def test_a_run_goes_on_with_resume_and_only_with_it():
    assert on_digits("--epochs", 2, "--method", "ce").exit_code == 0
    again = on_digits("--epochs", 2, "--method", "ce")
    assert isinstance(again.exception, FileExistsError)
    assert on_digits("--epochs", 2, "--method", "ce", "--resume").exit_code == 0


def test_other_settings_on_resumption_are_refused():
    assert on_digits("--epochs", 1).exit_code == 0
    other = on_digits("--epochs", 1, "--lr", 0.5, "--resume")
    assert "`lr` was 0.02, got 0.5" in str(other.exception)


@pytest.mark.parametrize(
    "words", [("--noise", "sym"), ("--noise-rate", 0.4), ("--noise", "none", "--noise-rate", 0.4)]
)
def test_noise_and_its_rate_come_together(words):
    result = on_digits("--epochs", 1, *words)
    assert "--noise sym and asym need --noise-rate" in str(result.exception)


def test_features_are_made_of_images_and_trained_on():
    rng = np.random.default_rng(0)
    truth = np.arange(80) % 2
    images = rng.integers(0, 60, (80, 8, 8), dtype=np.uint8)
    # Bright at the top or at the bottom, which no mirror changes.
    for image, label in zip(images, truth, strict=True):
        image[4 * label : 4 * label + 4, 2:6] += 150
    np.savez("images.npz", x_train=images, y_train=truth, x_test=images, y_test=truth)
    made = run(
        *("features", "--data", "images.npz", "--out", "features.npz"),
        *("--views", 2, "--filters", 10, "--patch-size", 3),
    )
    assert made.exit_code == 0, made.output
    assert "80 samples, 2 views of 40 features" in made.output
    result = run(
        *("train", "--data", "features.npz", "--noise", "sym", "--noise-rate", 0.3),
        *("--epochs", 8, "--out", "run", "--lr", 0.05, "--batch-size", 8),
    )
    assert result.exit_code == 0, result.output
    assert open_run("run").epochs[-1]["metrics"]["test_accuracy"] > 0.9


def test_compare_trains_every_method_with_every_seed_and_reads_what_is_there():
    words = ("compare", "--data", "digits", "--subset", 200, "--out", "runs", "--noise-rate", 0.4)
    words += ("--methods", "ce,vrlvmix", "--seeds", 2, "--epochs", 4)
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert result.output.count("test accuracy") == 4
    assert "mean ± deviation over 2 seeds" in result.output
    lasts = [open_run(f"runs/ce-seed{seed}").epochs[-1]["metrics"] for seed in (0, 1)]
    accuracies = 100 * np.array([metrics["test_accuracy"] for metrics in lasts])
    best = [
        max(epoch["metrics"]["test_accuracy"] for epoch in open_run(f"runs/ce-seed{seed}").epochs)
        for seed in (0, 1)
    ]
    assert f"{100 * np.mean(best):.1f} ± {100 * np.std(best, ddof=1):.1f}" in result.output
    assert accuracies[0] != accuracies[1]
    again = run(*words)
    assert again.output.count("test accuracy") == 0
    assert again.output.splitlines()[-2:] == result.output.splitlines()[-2:]
    other = run(*words, "--lr", 0.5)
    assert "`lr` was 0.02, got 0.5" in str(other.exception)


def test_the_methods_of_a_comparison_share_labels_and_warm_up():
    run(
        *("compare", "--data", "digits", "--subset", 200, "--out", "runs", "--noise-rate", 0.4),
        *("--methods", "ce,dividemix,vrlvmix", "--seeds", 1, "--epochs", 4),
    )
    runs = [open_run(f"runs/{method}-seed0") for method in ("ce", "dividemix", "vrlvmix")]
    for other in runs[1:]:
        assert np.array_equal(other.labels, runs[0].labels)
        assert np.array_equal(other.log("b", until=2).losses, runs[0].log("b", until=2).losses)


def test_absent_data_is_an_error_that_names_the_files():
    result = run("train", "--data", "cifar10", "--data-dir", "nowhere", "--out", "run")
    assert isinstance(result.exception, FileNotFoundError)
    assert "train.parquet" in str(result.exception)


def test_without_torch_train_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("noisyselect.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = on_digits()
    assert "install noisyselect[torch]" in str(result.exception)


def test_the_demo_compares_both_methods_and_can_be_run_again():
    for _ in range(2):
        result = run("demo", "--epochs", 2)
        assert result.exit_code == 0, result.output
    assert "40.4% of the labels wrong" in result.output
    for method in ("ce", "vrlvmix"):
        assert open_run(f"runs/demo/{method}").n_epochs == 2


def test_the_demo_deletes_nothing_but_runs(tmp_path):
    mine = tmp_path / "runs" / "demo" / "ce" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("all of it")
    result = run("demo", "--epochs", 1)
    assert isinstance(result.exception, FileExistsError)
    assert mine.read_text() == "all of it"


def test_the_demo_does_not_replace_a_run_that_no_demo_made():
    assert run("train", "--data", "digits", "--out", "runs/ce", "--epochs", 1).exit_code == 0
    before = open_run("runs/ce").settings
    result = run("demo", "--out", "runs", "--epochs", 2)
    assert "holds a run that no demo made" in str(result.exception)
    assert open_run("runs/ce").settings == before
