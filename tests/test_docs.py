"""What the documentation shows runs, and what is public is documented."""

import re
from pathlib import Path

import pytest

import noisyselect

ROOT = Path(__file__).parents[1]
# The blocks of these need files: tests/store/test_store.py and test_other_tools.py run them.
NEED_FILES = ("log-format.md", "other-tools.md")
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in NEED_FILES),
]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_blocks_of_a_page_run_one_after_another(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)


def test_the_readme_shows_code():
    assert len(BLOCK.findall((ROOT / "README.md").read_text())) >= 3


def test_the_first_example_of_the_readme_fits_on_a_screen_and_needs_only_numpy():
    first = BLOCK.search((ROOT / "README.md").read_text()).group(1)
    assert len(first.splitlines()) <= 30
    imported = set(re.findall(r"^(?:import|from) (\w+)", first, re.MULTILINE))
    assert imported == {"numpy", "noisyselect"}


@pytest.mark.parametrize("name", [n for n in noisyselect.__all__ if not n.startswith("__")])
def test_every_public_name_stands_in_the_api_page(name):
    assert f"noisyselect.{name}" in (ROOT / "docs" / "api.md").read_text()


def test_every_command_stands_in_the_readme():
    from typer.main import get_command

    from noisyselect.cli import app

    readme = (ROOT / "README.md").read_text()
    for name in get_command(app).commands:
        assert f"noisyselect {name}" in readme, f"`noisyselect {name}` is not in the README."
