import re
from html.parser import HTMLParser

import numpy as np
import pytest
from small_runs import N_SAMPLES, write_run

import noisyselect.report.page
from noisyselect.errors import NonFiniteWarning
from noisyselect.metrics import selection_quality
from noisyselect.report import write_report
from noisyselect.report.wording import percent
from noisyselect.store import open_run

HOSTILE = '<img src=x onerror="alert(1)">'
NAMES = (HOSTILE, "</script><script>alert(2)</script>", "\"quoted\" & 'single' $\\frac{$")


class Page(HTMLParser):
    """The elements of a page and the text of each kind."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def whole(run, pictures, tmp_path_factory):
    """Return the text of a page with all there can be on it, and what it rests on."""
    out = tmp_path_factory.mktemp("pages") / "new" / "report.html"
    steps = []
    evidence = write_report(run, out, images=pictures, on_step=steps.append)
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert steps[0] == "Reading the run" and steps[-1] == "Drawing"
    return out.read_text(), evidence


def test_what_a_person_wants_to_see_first_stands_first(run, whole):
    text, evidence = whole
    page = Page(text).text
    order = [
        *("How noisy is it?", "What was kept?", "Is it balanced?", "Can it be trusted?"),
        *("Selectors over epochs", "Class by class", "Losses", "Data map", "Loss trajectories"),
        *("Given against predicted", "The most suspicious samples", "About this report"),
    ]
    at = [page.rindex(heading) for heading in order]
    assert at == sorted(at)
    quality = selection_quality(evidence.selection, run.labels, run.truth, 3)
    for figure in (
        percent(0.2),
        percent(quality.n_kept / 90),
        f"{percent(quality.precision)} right",
    ):
        assert figure in page
    assert f"{quality.n_kept} of 90 labels" in page


def test_it_needs_nothing_but_itself(whole):
    text, _ = whole
    page = Page(text)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:")), (tag, address)
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    (policy,) = [a["content"] for a in page.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")


def test_every_plot_says_what_there_is_to_see(whole):
    page = Page(whole[0])
    plots = page.all("svg")
    assert len(plots) == 2 + 1 + 3 + 2 + 2 + 2 or len(plots) == 2 + 1 + 3 + 2 + 3 + 2
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    assert len(page.all("figcaption")) == len(page.all("figure")) == 6


def test_ids_are_unique_and_links_and_labels_lead_somewhere(whole):
    page = Page(whole[0])
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    wanted = [a["href"][1:] for a in page.all("a")]
    for _, attributes in page.elements:
        wanted += (attributes.get("aria-labelledby") or "").split()
        wanted += [attributes["for"]] if "for" in attributes else []
    assert set(wanted) <= set(ids)


def test_headings_go_down_in_steps_and_parts_have_names(whole):
    page = Page(whole[0])
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert set(levels) == {1, 2}
    assert all("aria-labelledby" in section for section in page.all("section"))
    for tag, attributes in page.elements:
        if "tabindex" in attributes:
            assert attributes["role"] == "region" and attributes["aria-label"], tag
    assert len(page.all("main")) == len(page.all("nav")) == len(page.all("header")) == 1


def test_the_images_of_the_samples_are_in_the_page(whole):
    text, evidence = whole
    images = Page(text).all("img")
    assert len(images) == np.count_nonzero(~evidence.selection.clean)
    assert all(image["src"].startswith("data:image/webp;base64,") for image in images)


def test_nothing_on_it_is_a_number_that_is_none(whole):
    assert re.findall(r"\b(nan|inf|None)\b", Page(whole[0]).text) == []


@pytest.mark.parametrize(
    "options",
    [
        {"true_labels": None},
        {"networks": "a", "n_epochs": 1, "features": False},
        {"networks": "a", "n_epochs": 2, "true_labels": None, "features": False},
        {"columns": ("losses",), "features": False},
        {"columns": ("predictions",), "features": False},
        {"broken": range(40)},
    ],
    ids=["no truth", "one epoch", "two epochs", "losses alone", "predictions alone", "NaN"],
)
@pytest.mark.filterwarnings("ignore::noisyselect.errors.NonFiniteWarning")
def test_runs_that_lack_something_have_a_page_without_it(tmp_path, options):
    run = write_run(tmp_path / "run", **options)
    evidence = write_report(run, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert re.findall(r"\b(nan|inf|None)\b", page.text) == []
    assert ("Losses" in page.text) == ("losses" in options.get("columns", ("losses",)))
    assert ("Loss trajectories" in page.text) == (
        evidence.log.losses is not None and evidence.log.n_epochs > 1
    )
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)
    if "true_labels" in options:
        assert "wrong" not in page.text.split("The most suspicious")[0].replace("wrong ones", "")
    if "broken" in options:
        assert "40 samples could not be judged" in page.text


def test_a_selector_that_keeps_all_or_nothing_has_a_page(tmp_path):
    from noisyselect.store import RunWriter

    writer = RunWriter.create(tmp_path / "same", [0, 1, 2, 0])
    writer.write_epoch({"a": {"losses": np.ones(4)}})
    with pytest.warns(noisyselect.errors.DegenerateWarning, match="every label is kept"):
        write_report(open_run(tmp_path / "same"), tmp_path / "all.html")
    text = Page((tmp_path / "all.html").read_text()).text
    assert "gmm drops no sample that it could judge" in text
    assert "every label is kept" in text
    assert "All losses are nearly equal." in text
    writer = RunWriter.create(tmp_path / "lost", [0, 1, 2, 0])
    for _ in range(2):
        writer.write_epoch({"a": {"losses": np.full(4, np.nan)}})
    with pytest.warns((NonFiniteWarning, noisyselect.errors.DegenerateWarning)):
        write_report(open_run(tmp_path / "lost"), tmp_path / "none.html")
    text = Page((tmp_path / "none.html").read_text()).text
    assert "No label is kept" in text and "trajectories" not in text


def test_markup_in_names_is_shown_as_text(tmp_path):
    run = write_run(
        tmp_path / f"run {HOSTILE}".replace("/", ""),
        class_names=NAMES,
        ids=np.array([f"{HOSTILE}{i}" for i in range(N_SAMPLES)]),
        settings={HOSTILE: NAMES[1], "data": HOSTILE, "list": [NAMES[2], "\u2028"]},
    )
    write_report(run, tmp_path / "report.html", title=None)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.all("img") == []
    assert len(page.all("script")) == 1 and text.count("</script>") == 1
    for name in (*NAMES, f"run {HOSTILE}"):
        assert name in page.text, name
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_of_many_suspects_so_many_are_shown_and_the_way_to_all_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(noisyselect.report.page, "N_SHOWN", 5)
    evidence = write_report(run, tmp_path / "report.html", title="Mine & yours")
    page = Page((tmp_path / "report.html").read_text())
    assert "Mine & yours" in page.text, "a title of one's own stands above all"
    n_dropped = np.count_nonzero(~evidence.selection.clean)
    assert f"The 5 most suspicious of the {n_dropped} samples" in page.text
    assert len([a for a in page.all("tr") if "data-id" in a]) == 5
    assert f"noisyselect select {run.path} --selector vrlv" in page.text
