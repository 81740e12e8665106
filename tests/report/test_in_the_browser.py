"""The report in a real browser: it opens from disk, works, and is still while it does."""

import shutil

import numpy as np
import pytest
from small_runs import N_SAMPLES, write_run

from noisyselect.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="a browser needs playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

HOSTILE = '<img src=x onerror="alert(1)">'
NAMES = (HOSTILE, "</script><script>alert(2)</script>", "\"quoted\" & 'single'")
IDS = np.array([f"{i:02d} {HOSTILE}" for i in range(N_SAMPLES)])


@pytest.fixture(scope="module")
def reports(tmp_path_factory, run, pictures):
    """Two reports: one with all there can be, one whose names are full of markup."""
    folder = tmp_path_factory.mktemp("reports")
    write_report(run, folder / "whole.html", images=pictures)
    hostile = write_run(
        folder / f"run {HOSTILE}", class_names=NAMES, ids=IDS, settings={HOSTILE: HOSTILE}
    )
    write_report(hostile, folder / "hostile.html")
    return folder


@pytest.fixture(scope="module")
def browser():
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, reports):
    """Open a report as a person would; at the end nothing may have gone wrong or out."""
    contexts, troubles = [], []

    def call(name="whole.html", width=1280, dark=False, **options):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on(
            "dialog",
            lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()),
        )

        def asked(request):
            if not request.url.startswith(("data:", (reports / name).as_uri())):
                troubles.append(f"request: {request.url}")

        page.on("request", asked)
        page.goto((reports / name).as_uri())
        return page

    yield call
    for context in contexts:
        context.close()
    assert troubles == []


def column(page, heading):
    """Return what stands under a heading of the table, in the rows that are shown."""
    headings = page.locator("#samples thead th").all_inner_texts()
    place = next(i for i, text in enumerate(headings) if text.startswith(heading)) + 1
    cells = page.locator(f"#samples tbody tr:not([hidden]) > :nth-child({place})")
    return [text.split("\n")[0] for text in cells.all_inner_texts()]


def heading(page, name):
    return page.locator("#samples thead th", has=page.get_by_role("button", name=name, exact=True))


def test_it_opens_from_disk_and_shows_its_plots(open_page):
    page = open_page()
    assert page.locator("h1").inner_text() == "run"
    assert page.locator("svg[role=img]").count() >= 12
    for plot in page.locator("svg[role=img]").all():
        assert plot.bounding_box()["height"] > 100
    assert page.locator("#samples img").first.evaluate("image => image.naturalWidth") == 8


def test_headings_sort_up_and_down_and_say_so(open_page):
    page = open_page()
    assert heading(page, "probability").get_attribute("aria-sort") == "ascending"
    for name, key in (("loss", float), ("id", int), ("score", float)):
        button = heading(page, name).get_by_role("button")
        button.click()
        up = [key(text) for text in column(page, name)]
        assert up == sorted(up) and len(set(up)) > 5
        assert heading(page, name).get_attribute("aria-sort") == "ascending"
        button.click()
        assert [key(text) for text in column(page, name)] == sorted(up, reverse=True)
        assert heading(page, name).get_attribute("aria-sort") == "descending"
        assert (
            page.locator("#samples [aria-sort=ascending], #samples [aria-sort=descending]").count()
            == 1
        )


def test_filters_narrow_the_rows_and_say_how_many_are_left(open_page):
    page = open_page()
    everything = column(page, "id")
    given, predicted = column(page, "given"), column(page, "predicted")
    page.get_by_label("Given", exact=True).select_option("x")
    assert column(page, "id") == [
        i for i, name in zip(everything, given, strict=True) if name == "x"
    ]
    page.get_by_label("Predicted", exact=True).select_option("z")
    both = [
        i for i, *names in zip(everything, given, predicted, strict=True) if names == ["x", "z"]
    ]
    assert column(page, "id") == both
    assert page.get_by_role("status").inner_text() == f"{len(both)} of {len(everything)} shown."
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function(
        "n => document.querySelectorAll('#samples tbody tr:not([hidden])').length === n",
        arg=len(everything),
    )
    page.get_by_label("Search", exact=True).fill("LOSS IS LARGE")
    why = page.locator("#samples tbody tr:not([hidden]) .why").all_inner_texts()
    assert len(why) > 0 and all("loss is large" in text.lower() for text in why)
    page.get_by_label("Search", exact=True).fill("no such thing")
    assert column(page, "id") == []
    assert page.get_by_role("status").inner_text() == f"0 of {len(everything)} shown."


def test_the_ids_of_the_rows_shown_are_copied_in_their_order(open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Given", exact=True).select_option("y")
    heading(page, "loss").get_by_role("button").click()
    wanted = column(page, "id")
    page.get_by_role("button", name="Copy ids").click()
    page.get_by_text(f"{len(wanted)} ids copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").split("\n") == wanted


@pytest.mark.parametrize("works", [True, False], ids=["the older way", "by hand"])
def test_without_a_clipboard_there_is_another_way_to_copy(open_page, works):
    page = open_page()
    page.evaluate(
        """works => {
            Object.defineProperty(navigator, "clipboard", { value: undefined });
            document.execCommand = (command) => {
                window.copied = [command, document.activeElement.value];
                return works;
            };
        }""",
        works,
    )
    wanted = column(page, "id")
    page.get_by_role("button", name="Copy ids").click()
    page.get_by_role("status").get_by_text("copied" if works else "Not copied").wait_for()
    assert page.evaluate("window.copied") == ["copy", "\n".join(wanted)]
    field = page.locator("#ids")
    assert field.is_visible() == (not works)
    if not works:
        marked = "field => field.value.slice(field.selectionStart, field.selectionEnd)"
        assert field.evaluate(marked) == "\n".join(wanted)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_theme_is_the_readers_and_a_button_turns_it(open_page, dark):
    page = open_page(dark=dark)
    button = page.get_by_role("button", name="Dark")

    def lightness(selector, what):
        colour = page.locator(selector).first.evaluate(f"node => getComputedStyle(node).{what}")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    for now in (dark, not dark):
        assert button.get_attribute("aria-pressed") == str(now).lower()
        page_is, text_is = lightness("body", "backgroundColor"), lightness("h1", "color")
        plot_is = lightness("svg text", "fill")
        assert (page_is < 150 and min(text_is, plot_is) > 600) == now
        assert (page_is > 600 and max(text_is, plot_is) < 150) == (not now)
        button.click()


def test_all_of_it_works_by_keyboard(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        here = "document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)"
        reached.add(page.evaluate(here))
    assert {"search", "given", "predicted", "copy", "Reset", "id", "loss", "score"} <= reached
    assert page.locator("#samples").locator("..").evaluate("box => box.tabIndex") == 0
    heading(page, "loss").get_by_role("button").focus()
    page.keyboard.press("Space")
    assert heading(page, "loss").get_attribute("aria-sort") == "ascending"
    page.get_by_text("The numbers of every class").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("table", name="Every class, by given label").is_visible()


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("name", ["whole.html", "hostile.html"])
def test_no_page_scrolls_sideways(open_page, name, width):
    page = open_page(name, width)
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    table = page.locator("#samples").locator("..")
    assert table.evaluate("box => box.clientWidth") <= width


def test_markup_in_names_is_text_and_copied_as_it_is(open_page):
    page = open_page("hostile.html", permissions=["clipboard-read", "clipboard-write"])
    assert page.locator("h1").inner_text() == f"run {HOSTILE}"
    assert page.locator("img").count() == 0
    ids = column(page, "id")
    assert set(ids) <= set(IDS.tolist()) and ids
    page.get_by_label("Given", exact=True).select_option(HOSTILE)
    assert set(column(page, "given")) == {HOSTILE}
    heading(page, "id").get_by_role("button").click()
    page.get_by_role("button", name="Copy ids").click()
    page.get_by_text("copied, one a line").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").split("\n") == column(page, "id")
    assert page.locator("svg text").get_by_text(HOSTILE[:11]).count() > 0


def test_without_scripts_it_is_all_there_but_the_controls(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("#samples tbody tr").first.is_visible()
    assert not page.locator("#filters").is_visible()
    assert not page.locator("#theme").is_visible()
