"""What several test files share: where the real data lies, and what it says."""

import sys
from pathlib import Path

import numpy as np
import pytest

from noisyselect import TrainingLog
from noisyselect.cli import main

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data, see ../shared/data/README.md."""
    if not SHARED.is_dir():
        pytest.skip(f"the real data is not here: no folder {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def real_log(shared_data):
    """The arrays of the real training log."""
    with np.load(shared_data / "logs" / "cifar10-asym40.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def real_logs(real_log):
    """The real training log as one TrainingLog per network."""
    return tuple(
        TrainingLog(
            labels=real_log["label"],
            losses=real_log["loss"][:, network],
            predictions=real_log["pred"][:, network],
            lr=real_log["lr"],
            features=real_log[f"feat{network}"],
        )
        for network in (0, 1)
    )


@pytest.fixture
def noisyselect_command(monkeypatch, capsys):
    """Run the command line in this process; return exit status, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["noisyselect", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    return call
