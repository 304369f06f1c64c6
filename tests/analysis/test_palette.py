"""Looks of student kinds, which pictures and page take from one place."""

import math
import re

import numpy as np
import pytest

from analysis.page.page import page
from analysis.presentation import palette
from analysis.presentation.figure import outline
from analysis.presentation.front_plot import FrontPlot, ModelPoint, front_legend
from tests.support.pages import few


def test_a_look_is_all_that_a_new_student_kind_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    new = palette.Look("#123456", "#abcdef", "P")
    for looks in (palette.STUDENT_LOOKS, palette.KINDS, palette.LOOKS):
        monkeypatch.setitem(looks, "cnn", new)
    (entry, *_) = front_legend(
        FrontPlot([ModelPoint("cnn-64", "cnn", 1.0, 70.0)], [], [], [], "", "")
    )
    assert (entry.get_label(), entry.get_color(), entry.get_marker()) == ("cnn", "#123456", "P")
    html = page(few())
    assert "--cnn: #123456;" in html and "--cnn: #abcdef;" in html
    assert f'"cnn":"{outline("P")}"' in html


def test_an_unknown_kind_is_drawn_as_other() -> None:
    assert palette.look("cnn") == palette.LOOKS["other"]


@pytest.mark.parametrize("marker", ["s", "^", "D", "*", "d"])
def test_outlines_have_the_area_of_a_circle_of_radius_1(marker: str) -> None:
    numbers = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", outline(marker))]
    x, y = np.array(numbers).reshape(-1, 2).T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(math.pi, rel=0.01)


def test_a_circle_has_radius_1() -> None:
    assert outline("o").startswith("M0 1C") and outline("o").endswith("Z")
