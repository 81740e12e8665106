import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from noisyselect.plots import plot_data_map, plot_loss_histogram, plot_over_epochs
from noisyselect.report.svg import draw

SVG = "{http://www.w3.org/2000/svg}"


def histogram(axes):
    losses = np.random.default_rng(0).gamma(2, size=200)
    plot_loss_histogram(axes, losses, losses < 2, title='<b>&"quoted"</b> $x^2$ \\frac{')


def drawn(plot=histogram, name="one"):
    return draw(plot, name, 'what "there" is < to see', (400, 300), (50, 10, 40, 30))


def test_it_is_well_formed_and_says_what_there_is_to_see():
    root = ElementTree.fromstring(drawn())
    assert root.tag == f"{SVG}svg"
    assert (root.get("role"), root.get("aria-label")) == ("img", 'what "there" is < to see')
    assert root.get("viewBox") == "0 0 320 240"


def test_text_stays_text_and_is_no_formula():
    texts = [
        "".join(node.itertext()) for node in ElementTree.fromstring(drawn()).iter(f"{SVG}text")
    ]
    assert '<b>&"quoted"</b> $x^2$ \\frac{' in texts


def test_every_colour_is_one_of_the_page():
    def lines(axes):
        plot_over_epochs(axes, {str(i): np.array([[0.1, i / 10]]) for i in range(7)}, warm_up=1)

    for plot in (histogram, lines):
        assert re.findall(r"#[0-9a-f]{6}\b", drawn(plot)) == []
    assert "currentColor" in drawn(lines)


def test_it_brings_no_style_that_would_hold_for_the_page():
    assert "<style" not in drawn() and "<metadata" not in drawn()


def test_ids_of_two_plots_differ_and_every_reference_finds_its_own():
    one, other = drawn(name="one"), drawn(name="other")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    for svg, own in zip((one, other), ids, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([\w.-]+)', svg)) == own


def test_the_same_plot_is_the_same_text():
    assert drawn() == drawn()


def test_a_map_is_a_picture_of_its_own_resolution_and_not_many_dots():
    rng = np.random.default_rng(0)
    values = rng.random((2, 50_000))
    root = ElementTree.fromstring(drawn(lambda axes: plot_data_map(axes, *values, values[0] > 0.5)))
    (image,) = root.iter(f"{SVG}image")
    data = image.get("{http://www.w3.org/1999/xlink}href").removeprefix("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (80, 64)
    assert len(list(root.iter())) < 150
