"""Pictures as drawn by matplotlib: axes, marks and names, and the files that are made of them."""

import math
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes

from analysis.charts import (
    curves,
    deferral,
    frontier,
    importance,
    joint,
    marginals,
    published,
    retention,
    tasks,
    volume,
    weights,
)
from analysis.presentation.deferral_plot import Line, deferral_plot
from analysis.presentation.figure import count_note, fix_layout, image_bytes, new_figure, text_width
from tests.support.models import FAST, GOOD, WORSE, models, trial
from tests.support.models import front_numbers as numbers
from tests.support.text_boxes import faults


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_front_is_drawn_on_a_log_axis_with_names_that_do_not_overlap() -> None:
    figure = frontier.draw(
        numbers(models(FAST, GOOD, WORSE), title="Best: bilstm-64", small="3 models")
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert texts(axes) == ["T", "bag-1x64", "bilstm-64", "transformer-1x32"]
    assert figure.get_suptitle() == "Best: bilstm-64"
    assert faults(figure) == []
    assert figure.legends[0].get_title().get_text() == f"3 models. {count_note(4, 4)}"
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == [
        "transformer", "bilstm", "bag", "front (chosen on selection)", "teacher",
        "same student, labels alone",
    ]  # fmt: skip


def test_a_kind_without_a_look_of_its_own_is_drawn_as_other() -> None:
    figure = frontier.draw(numbers(models(GOOD | {"student_kind": "cnn"})))
    assert figure.legends[0].get_texts()[0].get_text() == "other"


def test_the_same_figure_gives_the_same_files_and_its_svg_has_texts_and_no_date() -> None:
    info = numbers(models(FAST, GOOD), small="two models")
    first, second = (image_bytes(frontier.draw(info), "svg") for _ in range(2))
    assert first == second
    assert b">bilstm-64</text>" in first and b"<dc:date>" not in first
    assert image_bytes(frontier.draw(info), "png").startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_name_with_control_characters_leaves_a_picture_that_opens() -> None:
    figure = new_figure(4, 3)
    figure.text(0.1, 0.5, "t\u00e4glich \x1b[31m \x00\x0b \uffff")
    (drawn,) = [
        text.text
        for text in ElementTree.fromstring(image_bytes(figure, "svg")).iter()
        if text.tag.endswith("}text")
    ]
    assert drawn == "t\u00e4glich \ufffd[31m \ufffd\ufffd \ufffd"


def test_each_task_has_axes_and_empty_places_none() -> None:
    info = tasks.info(models(FAST, GOOD), ["a", "b"])
    assert info is not None
    assert [axes.get_title(loc="left") for axes in tasks.draw(info).axes] == ["a", "b"]


def test_retention_is_written_in_its_cell_and_a_dash_if_it_is_not_known() -> None:
    info = retention.Info(
        ["m"], ["a", "mean"], [[98.76, math.nan]], [[1.0, math.nan]], [[False, False]], ""
    )
    assert texts(retention.draw(info).axes[0]) == ["98.8", "-"]


def test_curves_have_their_names_at_their_ends() -> None:
    points = {"r0": [(10, 50.0), (20, 60.0)], "r1": [(10, 52.0), (20, 62.0)]}
    info = curves.info(models(FAST, GOOD), lambda _: points)
    assert info is not None
    (axes,) = curves.draw(info).axes
    assert texts(axes) == ["bilstm-64", "bag-1x64"] and len(axes.lines) == 2


def test_a_curve_at_one_height_has_an_axis() -> None:
    """A short training is scored only at its end. A warning of matplotlib would be an error."""
    info = curves.info(models(GOOD), lambda _: {"r0": [(10, 60.0)]})
    assert info is not None and (info.bottom, info.top) == (59, 61)
    curves.draw(info)


def test_hypervolume_and_importances_are_drawn() -> None:
    study = {
        "reference": {"quality": 0.0, "latency_ms": 10.0},
        "trials": [trial(0, 60.0, 1.0), trial(1, 70.0, 1.0)],
    }
    covered, shares = volume.info(study), importance.info({"quality": {"x": 0.5, "y": 0.5}})
    assert covered is not None and shares is not None
    figure = volume.draw(covered)
    trials = [tick for tick in figure.axes[0].get_xticks() if 0 <= tick <= 1]
    assert trials == [0, 1], "ticks are whole numbers"
    assert "above 0.0 points, below 10 ms" in figure.legends[0].get_title().get_text()
    assert [label.get_text() for label in importance.draw(shares).axes[0].get_yticklabels()] == [
        "x",
        "y",
    ]


def test_marginals_have_an_axis_per_setting_and_weights_a_line_per_model() -> None:
    runs = [
        {
            "loss.temperature": str(t),
            "mean": 60.0 + t,
            "train.sampling.weights": f"{{'a': 1, 'b': {t}}}",
        }
        for t in (1, 2, 4, 9)
    ]
    shown, weighted = marginals.info(models(*runs)), weights.info(models(*runs), ["a", "b"])
    assert shown is not None and weighted is not None
    (axes,) = marginals.draw(shown).axes
    assert (axes.get_xlabel(), axes.get_xscale()) == ("temperature", "log")
    assert len(weights.draw(weighted).axes[0].lines) == 4 + 1, "and the line of equal weights"


def test_gains_are_written_in_their_cells() -> None:
    info = joint.Info(["a"], ["b", "all 3 tasks"], [[2.04, math.nan]], [[3, 0]], 2.04, "")
    assert texts(joint.draw(info).axes[0]) == ["+2.0\n3 runs", ""]


def test_published_figures_are_named_and_said_not_to_be_measured_here() -> None:
    info = published.info(
        models(GOOD | {"teacher": "bert-12x768", "teacher_latency_ms": 275.0}), ["a", "b"]
    )
    assert info is not None
    figure = published.draw(info)
    fix_layout(figure)
    assert {"BERT-base", "TinyBERT-4", "bilstm-64"} <= set(texts(figure.axes[0]))
    assert "not measured here" in figure.get_supxlabel()


def test_a_line_of_deferral_has_its_name_and_a_mark_at_the_chosen_share() -> None:
    lines = [Line("bag", "#009e73", [0, 60, 100], [0, -0.5, 4], 1)]
    (axes,) = deferral.draw(deferral_plot(lines, "title", "small")).axes
    assert texts(axes) == ["bag"]
    assert axes.collections[0].get_offsets().tolist() == [[60, -0.5]]  # type: ignore[union-attr]


def test_a_long_name_of_characters_that_the_font_lacks_is_measured_without_a_warning() -> None:
    """The suite turns warnings into errors; one for each character would take minutes."""
    measure = text_width(new_figure(4, 3).text(0.1, 0.5, "name"))
    assert measure("\U0001f642" * 300) == pytest.approx(300 * measure("\ufffd"), rel=0.01)
    assert measure("name") > measure("nam")
