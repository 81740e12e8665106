"""The catalogue says what the docstrings say; benchmarks/catalogue.py writes it anew."""

import importlib.util
from pathlib import Path

import pytest

from noisyselect.bench import named_selectors

ROOT = Path(__file__).parents[1]


def load_catalogue():
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "benchmarks" / "catalogue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


catalogue = load_catalogue()
RULES = named_selectors("all") | catalogue.correctors()


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "catalogue.md").read_text()


@pytest.mark.parametrize("name", RULES)
def test_the_page_has_the_entry_of_every_rule_as_its_docstring_is_now(page, name):
    assert catalogue.entry(RULES[name]) + "\n" in page


@pytest.mark.parametrize("name", RULES)
def test_every_docstring_says_what_the_rule_costs_and_where_it_fails(name):
    entry = catalogue.entry(RULES[name])
    for part in ("**Needs**", "**Cost** O(", "**Fails** where", "**Source** "):
        assert part in entry.replace("**Cost** that of its parts, O(", "**Cost** O("), part


def test_every_rule_is_in_a_table_with_its_seconds(page):
    for name, rule in RULES.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| [`{name}`]")]
        assert f"(#{type(rule).__name__.lower()})" in row
        # What one selection of 50,000 samples takes at most.
        assert float(row.split("|")[-2]) < 1
