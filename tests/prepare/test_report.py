"""The page: whole, self-contained, and true to what it is given."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from prepare.pages import Page, check_self_contained
from sspnerf.prepare.checks import Remark
from sspnerf.prepare.report import (
    Report,
    Section,
    ShownFrame,
    StageLine,
    to_html,
    verdict,
)
from sspnerf.prepare.report_frames import to_jpeg
from sspnerf.prepare.report_plots import Curve, Panel, TimeAxis, time_plot

SERIOUS = Remark("head", "the head leaves the frame at 12.4 s", "film wider", True)
NOTE = Remark("sound", "silence from 1.0 s to 5.0 s", "cut it out", False)
LINE = StageLine("speech", "the sound lasts 3.0 s and the picture 9.0 s", "listen to it")


def report(**changes):
    plain = Report(
        name="film.mp4",
        facts=[("Length", "20.0 s")],
        remarks=[],
        stage_lines=[],
        timeline="",
        samples=[],
        doubtful=[],
        sections=[Section("head", "The head", "How it moves."), Section("sound", "Sound", "Loud.")],
        made=[("size", "256")],
    )
    return plain._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "good to train"),
        ({"remarks": [NOTE]}, "good to train"),
        ({"stage_lines": [LINE._replace(is_serious=False)]}, "good to train"),
        ({"remarks": [SERIOUS, NOTE]}, "look at one thing before you train"),
        ({"remarks": [SERIOUS], "stage_lines": [LINE]}, "look at 2 things before you train"),
    ],
)
def test_the_verdict_counts_what_is_serious(changes, said):
    assert verdict(report(**changes)) == said
    page = Page(to_html(report(**changes)))
    assert said.capitalize() in page.text


def test_the_page_says_all_that_it_is_given():
    page = Page(to_html(report(remarks=[SERIOUS, NOTE], stage_lines=[LINE])))
    for said in (
        "film.mp4", "Length", "20.0 s", "The head leaves the frame at 12.4 s", "Film wider.",
        "Silence from 1.0 s to 5.0 s", "Cut it out.", LINE.line.capitalize(), "(speech)",
        "How it moves.", "size", "256",
    ):  # fmt: skip
        assert said in page.text
    assert page.text.index("Look at 2 things") < page.text.index("The head leaves")
    assert page.text.index("The head leaves") < page.text.index("Silence from")


def test_remarks_lead_to_the_section_that_shows_them():
    text = to_html(report(remarks=[SERIOUS, NOTE]))
    page = Page(text)
    assert page.addresses == ["#head", "#sound"]
    check_self_contained(page, text)


@pytest.mark.parametrize("name", ["<b>.mp4", 'a"b&c.mp4', "</title><script>alert(1)</script>"])
def test_names_are_shown_as_they_are_and_do_nothing(name):
    text = to_html(
        report(
            name=name,
            made=[(name, name)],
            facts=[(name, name)],
            stage_lines=[LINE._replace(line=name, advice=name)],
            samples=[ShownFrame(b"", name)],
        )
    )
    page = Page(text)
    assert "script" not in page.elements
    assert page.elements.count("b") == 1  # the stage's line
    assert page.text.count(name) >= 5
    assert name not in text


def test_pictures_are_in_the_page_itself():
    picture = np.full((640, 640, 3), (10, 200, 30), np.uint8)
    text = to_html(report(samples=[ShownFrame(to_jpeg(picture), "2.1 s")]))
    page = Page(text)
    check_self_contained(page, text)
    kind, content = page.sources[0].split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as shown:
        assert shown.size == (320, 320)
        np.testing.assert_allclose(np.asarray(shown)[5, 5], (10, 200, 30), atol=4)


def test_two_plots_in_one_page_do_not_disturb_each_other():
    values = np.linspace(0, 1, 50)
    axis = TimeAxis(25.0, 50, cuts=(20,), lost=(range(3, 9),))
    panel = Panel("cm", [Curve("right", values, "#0072b2")], marked=(range(30, 40),))
    plots = [time_plot([panel], axis, title=title) for title in ("one", "two")]
    text = to_html(report(sections=[Section("a", "A", "", (plots[0],)),
                                    Section("b", "B", "", (plots[1],))]))  # fmt: skip
    page = Page(text)
    check_self_contained(page, text)
    assert page.elements.count("svg") == 2
    assert page.text.count("time, s") == 2


def test_tables_keep_their_rows():
    table = (("what", "before"), ("turn", "3.1"))
    page = Page(to_html(report(sections=[Section("a", "A", "", table=table)])))
    assert page.elements.count("th") == 2
    assert "turn 3.1" in page.text
