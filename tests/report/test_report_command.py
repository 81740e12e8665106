import re
import subprocess
import sys

import pytest
from small_runs import write_run

from noisyselect.cli import main


@pytest.fixture
def report(monkeypatch, capsys):
    """Run `noisyselect report` in this process; return exit status, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["noisyselect", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    return call


def test_it_writes_a_page_and_says_where_and_how_many_labels_it_trusts(report, run, tmp_path):
    out = tmp_path / "new" / "report.html"
    status, text, errors = report(run.path, "--out", out, "--selector", "gmm", "--network", "b")
    assert (status, errors) == (0, "")
    assert "gmm trusts 72 of 90 labels (80.0%)" in text
    assert re.search(rf"Report: {re.escape(str(out))} \(0\.\d MB\)", text)
    page = out.read_text()
    assert "for network b of a and b" in page
    assert "<strong>gmm</strong>" in page


def test_images_are_those_of_a_data_set_that_the_trainer_knows(report, run, tmp_path):
    pytest.importorskip("torch", reason="reading data sets needs torch")
    status, _, _ = report(run.path, "--out", tmp_path / "report.html", "--images", "digits")
    assert status == 0
    assert "data:image/webp;base64," in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: is not a run directory"),
        (["RUN", "--selector", "gmx"], "A selector is one of gmm, loss-variation"),
        (["RUN", "--network", "c"], "`network` must be one of a, b"),
        (["RUN", "--images", "nothing.npz"], "No data set at nothing.npz"),
        (["SHORT", "--selector", "vrlv"], "VRLVSelector needs 6 epochs"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_no_file(
    report, run, tmp_path, monkeypatch, arguments, message
):
    if "nothing.npz" in arguments:
        pytest.importorskip("torch", reason="reading data sets needs torch")
    short = write_run(tmp_path / "short", n_epochs=1, features=False)
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(run.path), "SHORT": str(short.path)}
    status, text, errors = report(*(places.get(one, one) for one in arguments), "--out", "r.html")
    assert (status, text) == (1, "")
    assert errors.startswith("Error: ") and message in errors and errors.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


def test_importing_the_command_imports_neither_jinja2_nor_matplotlib():
    code = "import sys, noisyselect.cli; print(sorted({'jinja2', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
