"""The page for people who come with another tool's log, followed word for word."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from noisyselect.store import open_run

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
    assert "280 labels to look at: img-" in printed
    made = {path.name for path in tmp_path.iterdir()}
    assert {"trusted.csv", "aum-trusted.csv", "cartography-trusted.csv", "issues.csv"} <= made
    assert {"npz-trusted.parquet", "log.parquet", "trusted.parquet"} <= made
    for run in ("AUM-RUN", "CARTOGRAPHY-RUN", "NPZ-RUN", "RUN-2"):
        assert open_run(run).n_epochs == 7
    assert_shown(printed)


def assert_shown(printed):
    """The table that the page shows is the one that the command prints, seconds aside."""
    shown = next(b for b in PAGE.read_text().split("```text\n") if b.startswith("RUN  network a"))
    for line in shown.split("```")[0].splitlines():
        without_seconds = re.sub(r" +0\.\d\d$", "", line.rstrip())
        assert without_seconds in printed, line
