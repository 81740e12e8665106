"""The page for people who come with another tool's log, followed word for word."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from noisyselect.bench import named_selectors
from noisyselect.errors import MissingEvidenceError
from noisyselect.store import import_log, open_run

PAGE = Path(__file__).parents[2] / "docs" / "other-tools.md"
DATA = Path(__file__).parent / "data"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def write_logs_of_other_tools():
    """What the reader of the page is said to have."""
    Path("aum_output").mkdir()
    shutil.copy(DATA / "full_aum_records.csv", "aum_output")
    with np.load(DATA / "aum_logits.npz") as arrays:
        ids, labels, logits = (arrays[name] for name in ("ids", "labels", "logits"))
    Path("training_dynamics").mkdir()
    for epoch, values in enumerate(logits):
        table = pd.DataFrame(
            {"guid": ids, f"logits_epoch_{epoch}": values.tolist(), "gold": labels}
        )
        table.sample(frac=1, random_state=epoch).to_json(
            f"training_dynamics/dynamics_epoch_{epoch}.jsonl", lines=True, orient="records"
        )
    losses = np.log(np.exp(logits).sum(axis=2)) - logits[:, np.arange(labels.size), labels]
    np.savez("log.npz", loss=losses, label=labels)
    wide = pd.DataFrame({"id": ids} | {f"loss_{k}": row for k, row in enumerate(losses)})
    wide.to_parquet("losses-only.parquet")
    pd.DataFrame({"id": ids, "label": labels}).to_csv("labels.csv", index=False)


def test_the_page_can_be_followed_word_for_word(tmp_path, monkeypatch, noisyselect_command, capsys):
    monkeypatch.chdir(tmp_path)
    write_logs_of_other_tools()
    names, printed, commands = {}, "", 0
    for language, block in BLOCK.findall(PAGE.read_text()):
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), names)
            printed += capsys.readouterr().out
            continue
        for line in block.splitlines():
            name, *arguments = shlex.split(line)
            assert name == "noisyselect"
            status, out, err = noisyselect_command(*arguments)
            assert (status, err) == (0, ""), line
            printed += out
            commands += 1
    assert commands == 13
    assert "231 labels to look at: img-" in printed
    made = {path.name for path in tmp_path.iterdir()}
    assert {"trusted.csv", "aum-trusted.csv", "cartography-trusted.csv", "issues.csv"} <= made
    assert {"npz-trusted.parquet", "log.parquet", "trusted.parquet"} <= made
    for run in ("AUM-RUN", "CARTOGRAPHY-RUN", "NPZ-RUN", "RUN-2"):
        assert open_run(run).n_epochs == 7
    assert_shown(printed)


def assert_shown(printed):
    """The table that the page shows is the one that the command prints, seconds aside."""
    shown = next(b for b in PAGE.read_text().split("```text\n") if b.startswith("RUN\n"))
    for line in shown.split("```")[0].splitlines():
        without_seconds = re.sub(r" +0\.\d\d$", "", line.rstrip())
        assert without_seconds in printed, line


def table_of_selectors():
    """Return what the page says: the columns that a log must have, and who can judge it then."""
    section = PAGE.read_text().split("## Which selectors can judge which log")[1].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()[2:]]
    return [
        (set(columns.split(", ")), re.findall(r"`([a-z0-9-]+)`", names))
        for columns, _, names in rows
    ]


def write_npz(path, **more):
    """Write a log of 15 epochs, the first 7 of them again."""
    with np.load(DATA / "aum_logits.npz") as arrays:
        labels, logits = arrays["labels"], np.concatenate([arrays["logits"]] * 3)[:15]
    p = np.exp(logits)
    p /= p.sum(axis=2, keepdims=True)
    losses = -np.log(p[:, np.arange(labels.size), labels])
    given = {"pred": p.argmax(axis=2), "conf": p.max(axis=2), "prob0": p[-1]}
    given["feat0"] = np.random.default_rng(0).normal(size=(labels.size, 4))
    chosen = {name: given[name] for name, wanted in more.items() if wanted}
    np.savez(path, loss=losses, label=labels, **chosen)


SOURCES = {
    "aum_output/full_aum_records.csv": {"losses", "predictions"},
    "training_dynamics": {"losses", "predictions"},
    "losses.csv": {"losses"},
    "log.csv": {"losses", "predictions"},
    "losses.npz": {"losses"},
    "features.npz": {"losses", "predictions", "features"},
    "probabilities.npz": {"losses", "probabilities"},
    "all.npz": {"losses", "predictions", "features", "probabilities"},
}


@pytest.mark.filterwarnings("ignore::noisyselect.errors.DegenerateWarning")
@pytest.mark.parametrize("source", SOURCES)
def test_those_that_the_page_names_can_judge_a_log_and_no_others(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_logs_of_other_tools()
    write_npz("losses.npz")
    write_npz("features.npz", pred=True, feat0=True)
    write_npz("probabilities.npz", prob0=True)
    write_npz("all.npz", pred=True, conf=True, feat0=True, prob0=True)
    with np.load("losses.npz") as log:
        n_epochs, n_samples = log["loss"].shape
        table = pd.DataFrame(
            {
                "id": np.tile(np.arange(n_samples), n_epochs),
                "epoch": np.repeat(np.arange(n_epochs), n_samples),
                "loss": log["loss"].ravel(),
                "label": np.tile(log["label"], n_epochs),
            }
        )
    table.to_csv("losses.csv", index=False)
    table.assign(prediction=table["label"]).to_csv("log.csv", index=False)

    log = import_log(source, "RUN").log()
    named = {
        name
        for columns, names in table_of_selectors()
        if columns <= SOURCES[source]
        for name in names
    }
    if log.n_epochs < 15:
        named -= {"selfie"}
    judged = set()
    for name, selector in named_selectors("all").items():
        try:
            selector.select(log)
        except MissingEvidenceError:
            continue
        judged.add(name)
    assert judged == named


def test_the_page_names_every_selector_once():
    named = [name for _, names in table_of_selectors() for name in names]
    assert sorted(named) == sorted(named_selectors("all"))
