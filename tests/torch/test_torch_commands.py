"""The commands that train, as a user types them."""

import sys

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


def test_a_run_goes_on_with_resume_and_only_with_it():
    assert on_digits("--epochs", 2, "--method", "ce").exit_code == 0
    again = on_digits("--epochs", 2, "--method", "ce")
    assert isinstance(again.exception, FileExistsError)
    assert on_digits("--epochs", 2, "--method", "ce", "--resume").exit_code == 0


def test_other_settings_on_resumption_are_refused():
    assert on_digits("--epochs", 1).exit_code == 0
    other = on_digits("--epochs", 1, "--lr", 0.5, "--resume")
    assert "`lr` was 0.02, got 0.5" in str(other.exception)


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
