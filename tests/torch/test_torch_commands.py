"""The commands that train, as a user types them."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from noisyselect import open_run
from noisyselect.cli import app
from noisyselect.torch.presets import load_preset

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


@pytest.mark.parametrize("method", ["vrlvmix", "vrlvmix-plus", "dividemix", "coteaching", "ce"])
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


def test_all_that_a_run_can_show_is_recorded_and_told_and_benched():
    words = ("--method", "ce", "--epochs", 3, "--noise", "sym", "--noise-rate", 0.4)
    result = on_digits(*words, "--record", "all", "--record-last", 2)
    assert result.exit_code == 0, result.output
    said = "losses and predictions: probabilities, batches, features; probabilities and second view"
    assert f"Recorded beside {said} of the last 2 epochs.\n" in result.output
    shown = run("info", "run").output
    assert "probabilities network=a, network=b, epoch=0001 to epoch=0002" in shown
    assert "features network=a, network=b\n" in re.sub(r" +\n", "\n", shown)
    assert "is whole" in run("validate", "run").output
    benched = run("bench", "run", "--selectors", "confident-margin,enn")
    assert re.search(r"confident-margin +\d+\.\d%", benched.output)
    assert re.search(r"enn +\d+\.\d%", benched.output)


def test_a_second_view_is_recorded_with_augmentation_and_refused_without():
    words = ("--method", "ce", "--epochs", 1)
    refused = on_digits(*words, "--record", "batches, second-view")
    assert "'second-view' only with `augment`" in str(refused.exception)
    assert "`record` must hold only" in str(on_digits(*words, "--record", "losses").exception)
    result = on_digits(*words, "--augment", "--record", "all")
    assert "probabilities, second-view, batches, features.\n" in result.output
    assert open_run("run").log("b").second_view.shape == (1, 200, 10)


def test_other_settings_on_resumption_are_refused():
    assert on_digits("--epochs", 1).exit_code == 0
    other = on_digits("--epochs", 1, "--lr", 0.5, "--resume")
    assert "`lr` was 0.02, got 0.5" in str(other.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--noise", "sym"), "--noise sym needs --noise-rate"),
        (("--noise-rate", 0.4), "--noise none has no --noise-rate"),
        (("--noise", "human", "--noise-rate", 0.4), "--noise human has no --noise-rate"),
    ],
)
def test_noise_and_its_rate_come_together(words, message):
    result = on_digits("--epochs", 1, *words)
    assert message in str(result.exception)


def test_train_says_first_how_many_labels_are_wrong_nominally_and_really():
    result = on_digits("--epochs", 1, "--noise", "sym", "--noise-rate", 0.5)
    run_made = open_run("run")
    wrong = np.mean(run_made.labels != run_made.truth)
    assert wrong < 0.5
    assert result.output.startswith(
        "digits: 200 training and 360 test samples of 10 classes.\n"
        f"Noise sym, nominal rate 50.0%; {wrong:.1%} of the labels are wrong. No method is told.\n"
    )


@pytest.fixture
def preset():
    """A preset of one's own, as small as it gets."""
    Path("mine.toml").write_text(
        '[data]\ndata = "digits"\nnoise = "sym"\nnoise_rate = 0.4\n'
        '[settings]\nmethod = "ce"\nepochs = 20\nlr = 0.05\nbatch_size = 32\naugment = false\n'
    )
    return ("--preset", "mine.toml", "--subset", 200)


def test_a_preset_gives_data_noise_and_settings(preset):
    assert run("train", *preset, "--out", "run", "--scale", 0.1).exit_code == 0
    settings = open_run("run").settings
    assert settings["data"] == "digits"
    assert settings["noise"]["nominal_rate"] == 0.4
    assert (settings["method"], settings["lr"], settings["batch_size"]) == ("ce", 0.05, 32)
    assert (settings["epochs"], settings["warm_up"]) == (2, 1)


def test_what_is_given_overrides_the_preset_and_the_rest_stays(preset):
    given = ("--method", "vrlvmix", "--without", "balancing,scan", "--without", "vrlv")
    given += ("--epochs", 2, "--lambda-u", 3, "--noise-rate", 0.2, "--augment", "--seed", 4)
    given += ("--scan", "off", "--precision", "float32")
    result = run("train", *preset, *given, "--out", "run")
    assert result.exit_code == 0, result.output
    settings = open_run("run").settings
    assert settings["noise"]["nominal_rate"] == 0.2
    assert settings["without"] == ["balancing", "scan", "vrlv"]
    assert (settings["epochs"], settings["lambda_u"], settings["seed"]) == (2, 3, 4)
    assert (settings["augment"], settings["scan"]) == (True, "off")
    assert (settings["precision"], settings["lr"], settings["batch_size"]) == ("float32", 0.05, 32)


def test_other_noise_than_the_presets_brings_its_own_rate(preset):
    assert run("train", *preset, "--noise", "none", "--epochs", 1, "--out", "run").exit_code == 0
    assert open_run("run").settings["noise"]["kind"] == "none"
    missing = run("train", *preset, "--noise", "asym", "--out", "other")
    assert "--noise asym needs --noise-rate" in str(missing.exception)


def test_a_preset_of_images_suits_features(tmp_path):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 5)), np.arange(60) % 3
    np.savez("f.npz", features=features, labels=labels, test_features=features, test_labels=labels)
    words = ("train", "--preset", "cifar10-sym80", "--data", "f.npz", "--scale", 0.01)
    result = run(*words, "--out", "run")
    assert result.exit_code == 0, result.output
    settings = open_run("run").settings
    assert (settings["network"], settings["pretrain_epochs"], settings["scan"]) == (
        "auto",
        0,
        "off",
    )
    assert (settings["lambda_u"], settings["epochs"], settings["alpha"]) == (25, 3, 4)
    wanted = run(*words, "--network", "nowhere:network", "--out", "other")
    assert "nowhere" in str(wanted.exception)


def test_labels_of_an_earlier_run_are_trained_on_again():
    assert on_digits("--epochs", 1, "--noise", "sym", "--noise-rate", 0.4).exit_code == 0
    words = ("train", "--data", "digits", "--subset", 200, "--epochs", 1, "--method", "ce")
    again = run(*words, "--labels", "run", "--out", "again")
    assert again.exit_code == 0, again.output
    assert np.array_equal(open_run("again").labels, open_run("run").labels)
    assert np.array_equal(open_run("again").truth, open_run("run").truth)
    both = run(*words, "--labels", "run", "--noise", "sym", "--noise-rate", 0.1, "--out", "b")
    assert "--labels brings its own noise" in str(both.exception)


def test_without_a_preset_the_data_are_needed():
    assert "--data is needed" in str(run("train", "--out", "run").exception)


def test_the_choices_of_the_options_are_those_of_the_library():
    from noisyselect.cli import options
    from noisyselect.torch import settings
    from noisyselect.torch.data import noise

    assert options.Method == settings.Method
    assert options.NoiseKind == noise.NoiseKind
    assert options.ScanSwitch == settings.Scan
    assert options.PrecisionName == settings.Precision
    assert options.RecordName == settings.Record


def test_presets_are_listed_and_printed():
    listed = run("presets")
    assert listed.exit_code == 0, listed.output
    assert re.search(
        r"cifar100-sym90 +sym 90% +300 +30 +500 +on +150 +0.6 +preact-resnet18", listed.output
    )
    assert max(map(len, listed.output.splitlines())) <= 100
    printed = run("presets", "clothing1m").output
    Path("copy.toml").write_text(printed)
    assert load_preset("copy.toml").settings == load_preset("clothing1m").settings
    assert "must be one of" in str(run("presets", "clothing2m").exception)


def test_of_the_processes_of_torchrun_the_first_speaks(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = on_digits("--epochs", 1)
    assert (result.exit_code, result.output) == (0, "")


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
    assert result.output.count("test accuracy") == 4 + 1
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
    assert again.output.count("test accuracy") == 1
    assert again.output.splitlines()[-9:] == result.output.splitlines()[-9:]
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


def test_compare_says_whether_cross_entropy_memorised_and_leaves_figures_and_curves():
    words = ("compare", "--data", "digits", "--subset", 200, "--noise-rate", 0.4, "--seeds", 1)
    words += ("--methods", "ce", "--ablations", "--epochs", 2)
    result = run(*words, "--out", "runs", "--plot", "curves/mine.svg")
    assert result.exit_code == 0, result.output
    assert "Cross-entropy hardly memorised" in result.output
    for name in ("ce", "vrlvmix without vrlv", "vrlvmix without balancing"):
        assert re.search(rf"^{name} +\d", result.output, re.MULTILINE)
    assert max(map(len, result.output.splitlines()[4:-2])) <= 100
    assert Path("curves/mine.svg").read_text().startswith("<?xml")
    content = json.loads(Path("runs/compare.json").read_text())
    assert content["data"]["nominal_rate"] == 0.4
    assert content["settings"]["epochs"] == 2
    assert [len(row["curves"]["test_accuracy"][0]) for row in content["methods"]] == [2, 2, 2]


def test_compare_takes_a_preset_and_draws_beside_the_runs(preset):
    result = run("compare", *preset, "--out", "runs", "--methods", "ce", "--scale", 0.1)
    assert result.exit_code == 0, result.output
    assert Path("runs/compare.png").read_bytes()[1:4] == b"PNG"
    assert open_run("runs/ce-seed2").settings["lr"] == 0.05


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
    assert "Report of vrlvmix: runs/demo/report.html" in result.output
    assert "data:image/webp;base64," in Path("runs/demo/report.html").read_text()


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
