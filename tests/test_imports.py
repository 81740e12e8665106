"""Importing the package is quick and loads no framework; every public name is there."""

import subprocess
import sys

import pytest

import noisyselect


def in_a_fresh_interpreter(script):
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_loads_numpy_and_little_else():
    loaded = in_a_fresh_interpreter(
        "import sys, noisyselect; print(sorted({m.split('.')[0] for m in sys.modules}))"
    )
    heavy = (
        *("torch", "faiss", "pandas", "matplotlib", "pyarrow", "scipy", "sklearn", "imblearn"),
        *("rich", "typer", "jinja2", "dask", "distributed"),
    )
    assert [name for name in heavy if repr(name) in loaded] == []


@pytest.mark.parametrize("name", ["GMMSelector", "LossVariationSelector", "VRLVSelector"])
def test_a_selector_of_losses_needs_neither_faiss_nor_scikit_learn(name):
    loaded = in_a_fresh_interpreter(
        f"import sys; from noisyselect import {name}; print(sorted(sys.modules))"
    )
    assert [
        m for m in ("faiss", "sklearn", "imblearn", "torch", "scipy") if repr(m) in loaded
    ] == []


def test_every_public_name_is_there_and_documented():
    for name in noisyselect.__all__:
        value = getattr(noisyselect, name)
        assert name.startswith("__") or value.__doc__, f"{name} has no docstring"
    assert set(noisyselect.__all__) <= set(dir(noisyselect))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'GMMSelectr'"):
        noisyselect.GMMSelectr  # noqa: B018
