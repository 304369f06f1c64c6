"""Use of the report's page: the picture, the table, and two students side by side."""

import re
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from analysis.page.page import PageModel
from tests.support.browser import (
    choose,
    click,
    point,
    press,
    text,
    texts,
)
from tests.support.pages import TASKS, deviations, few, info, many, model, opened


def drawn(chrome: Chrome, selector: str = "[data-mark]") -> set[str]:
    marks = chrome.find_elements(By.CSS_SELECTOR, f"#chart {selector}")
    return {str(mark.get_attribute("data-mark")) for mark in marks}


def undominated(models: list[PageModel], field: str, sign: int) -> set[str]:
    """Returns by brute force the models that no other beats in one value without losing in the
    other."""
    places = {one.id: (sign * getattr(one, field), one.mean) for one in models}
    return {
        name
        for name, (x, y) in places.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in places.values())
    }


def rows(chrome: Chrome) -> list[str]:
    return texts(chrome, "#table tbody tr[data-model] th")


@pytest.mark.parametrize(
    ("axis", "field", "sign"),
    [
        ("milliseconds a call", "latency_ms", -1),
        ("rows a second", "rows_per_s", 1),
        ("bytes", "num_bytes", -1),
    ],
)
def test_the_front_is_that_of_brute_force_on_each_axis(
    chrome: Chrome, tmp_path: Path, axis: str, field: str, sign: int
) -> None:
    shown = many(60)
    here = [one for one in shown.models if one.machine == shown.models[0].machine]
    opened(chrome, tmp_path, shown)
    choose(chrome, "axis", axis)
    assert drawn(chrome, "[data-mark]:not(.pale)") == undominated(here, field, sign)


def test_the_front_is_chosen_by_selection_and_drawn_at_dev(chrome: Chrome, tmp_path: Path) -> None:
    lucky = model("lucky", 1.0, 72.0, selection=66.0)
    opened(
        chrome,
        tmp_path,
        info([model("fast", 0.5, 68.0), lucky, model("good", 2.0, 67.0, selection=70.0)]),
    )
    assert drawn(chrome, "[data-mark]:not(.pale)") == {"fast", "good"}
    (line,) = chrome.find_elements(By.CSS_SELECTOR, "#chart .step")
    first, then = re.findall(r"[\d.]+ ([\d.]+)H[\d.]+V([\d.]+)H", line.get_attribute("d") or "")[0]
    assert float(then) > float(first), "it goes down: the chosen student scores less on dev"


def test_hovering_shows_settings_scores_and_milliseconds(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, few())
    point(chrome, "[data-mark=deep]")
    tip = text(chrome, "#tip")
    assert tip.startswith(
        "deep transformer · int8 · 3 seeds 70.0 points, 69.0 to 71.0, 3.8 points below its teacher"
    )
    assert "sentiment 90.6 · acceptability 45.4" in tip and "student.hidden 450" in tip
    point(chrome, "#title")
    assert texts(chrome, "#tip") == []


def test_teacher_and_twins_are_drawn_and_named(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, few())
    point(chrome, "#chart .mark.teacher")
    assert text(chrome, "#tip").startswith("bert-6x384 teacher · 73.8 mean 17.7 ms")
    point(chrome, "#chart .mark.baseline")
    assert text(chrome, "#tip").startswith("hard labels") and "twin of" in text(chrome, "#tip")
    assert len(chrome.find_elements(By.CSS_SELECTOR, "#chart .mark.baseline")) == 4, (
        "only for the front"
    )


def test_a_click_on_a_student_opens_its_row(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, many(200))
    far = chrome.find_elements(By.CSS_SELECTOR, "[data-mark]:not(.pale)")[-1].get_attribute(
        "data-mark"
    )
    assert far not in rows(chrome), "it must be on another page of the table"
    point(chrome, f"[data-mark='{far}']", click=True)
    opened_row = chrome.find_element(By.CSS_SELECTOR, "#table tr.open")
    assert opened_row.get_attribute("data-model") == far
    assert "optim.rate" in text(chrome, "#table tr.details") and "seed 2" in text(
        chrome, "#table tr.details"
    )
    assert (
        0
        <= chrome.execute_script("return arguments[0].getBoundingClientRect().top", opened_row)
        < 400
    )


def test_a_second_touch_opens_a_students_row(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, few())
    point(chrome, "[data-mark=wide]", click=True, kind="touch")
    assert (
        text(chrome, "#tip strong") == "wide"
        and chrome.find_elements(By.CSS_SELECTOR, "tr.open") == []
    )
    point(chrome, "[data-mark=wide]", click=True, kind="touch")
    assert chrome.find_element(By.CSS_SELECTOR, "tr.open").get_attribute("data-model") == "wide"


def test_the_keys_walk_along_the_front_and_open_a_row(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, few())
    chrome.execute_script("document.getElementById('chart').focus()")
    press(chrome, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert text(chrome, "#tip strong") == "small"
    press(chrome, Keys.ARROW_DOWN)
    assert text(chrome, "#tip strong") == "deep", "down goes to the next score"
    press(chrome, Keys.ENTER)
    assert (
        chrome.find_element(By.CSS_SELECTOR, "#table tr.open").get_attribute("data-model") == "deep"
    )
    assert chrome.switch_to.active_element.get_attribute("data-row") == "deep"


def test_filters_apply_to_picture_and_table_alike(chrome: Chrome, tmp_path: Path) -> None:
    shown = info(
        [
            model("a", 1.0, 70.0),
            model("b", 2.0, 71.0, study="second"),
            model("c", 3.0, 72.0, "bag", seeds=4),
        ]
    )
    opened(chrome, tmp_path, shown)
    for name, option, left in [
        ("kind", "bag", {"c"}),
        ("study", "second", {"b"}),
        ("seed", "3", {"c"}),
    ]:
        choose(chrome, name, option)
        assert drawn(chrome) == left == set(rows(chrome))
        choose(chrome, name, "all")
    assert drawn(chrome) == {"a", "b", "c"}


def test_points_far_below_are_drawn_on_request(chrome: Chrome, tmp_path: Path) -> None:
    opened(
        chrome,
        tmp_path,
        info([model("a", 1.0, 70.0), model("b", 2.0, 71.0), model("failed", 3.0, 11.0)]),
    )
    assert drawn(chrome) == {"a", "b"} and "1 student far below the front is not drawn" in text(
        chrome, "#drawn"
    )
    click(chrome, "#whole")
    assert drawn(chrome) == {"a", "b", "failed"}


def test_a_heading_sorts_by_mouse_and_by_key(chrome: Chrome, tmp_path: Path) -> None:
    shown = few()
    opened(chrome, tmp_path, shown)
    assert rows(chrome) == [one.name for one in sorted(shown.models, key=lambda one: -one.mean)]
    click(chrome, "[data-sort=latency_ms]")
    by_latency = [one.name for one in sorted(shown.models, key=lambda one: one.latency_ms or 0)]
    assert rows(chrome) == by_latency
    assert chrome.find_element(By.CSS_SELECTOR, "th[aria-sort=ascending]").text.startswith("ms")
    press(chrome, Keys.ENTER)
    assert rows(chrome) == by_latency[::-1], "the heading has kept the focus"
    click(chrome, "[data-sort=name]")
    assert rows(chrome) == sorted(by_latency)


def test_unknown_values_are_sorted_last_in_both_orders(chrome: Chrome, tmp_path: Path) -> None:
    opened(
        chrome,
        tmp_path,
        info([model("a", 1.0, 70.0), model("untimed", None, 71.0), model("b", 2.0, 72.0)]),
    )
    click(chrome, "[data-sort=latency_ms]")
    assert rows(chrome) == ["a", "b", "untimed"]
    click(chrome, "[data-sort=latency_ms]")
    assert rows(chrome) == ["b", "a", "untimed"]


def test_many_students_are_on_several_pages(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, many(120))
    first = rows(chrome)
    assert len(first) == 50 and text(chrome, "#paging").startswith(
        "1–50 of 108 students (of 120 in all: 12 timed on other machines)"
    )
    click(chrome, "#paging button:last-of-type")
    assert text(chrome, "#paging").startswith("51–100 of 108") and not set(first) & set(
        rows(chrome)
    )


def test_a_pair_has_its_interval_and_differing_settings(chrome: Chrome, tmp_path: Path) -> None:
    shown = few()
    opened(chrome, tmp_path, shown)
    click(chrome, "[data-pair=wide]")
    assert text(chrome, "#pair") == "Tick a second student to see it beside wide. Clear"
    click(chrome, "[data-pair=small]")
    # 0.2 and 1.96 times the 0.4 of the rows; the differences of all seeds are equal.
    message = "+0.2 (−0.6 to 1.0) no difference that rows and seeds bear out"
    scores, speed, settings = texts(chrome, "#pair tbody")
    assert scores.startswith(f"mean 71.1 70.9 {message} sentiment 91.7 91.5 +0.2")
    assert "milliseconds a call 2.50 1.00 2.50 ×" in speed
    assert settings == "student.hidden 250 100"
    click(chrome, "[data-pair=bag]")
    message = "mean 70.9 66.0 +4.9 (4.1 to 5.7) a difference that rows and seeds bear out sentiment"
    assert message in text(chrome, "#pair tbody")
    click(chrome, "#clear")
    assert texts(chrome, "#pair") == [""]


def test_other_seeds_are_not_paired_by_seed(chrome: Chrome, tmp_path: Path) -> None:
    models = [
        model("two", 1.0, 75.0, seeds=2),
        model("three", 2.0, 70.0),
        model("one", 3.0, 60.0, seeds=1),
    ]
    opened(
        chrome,
        tmp_path,
        info(models, deviations=deviations([one.id for one in models], ["", *TASKS], 600, 400)),
    )
    click(chrome, "[data-pair=two]")
    click(chrome, "[data-pair=three]")
    # Half widths: 12.706 * 0.2 for two seeds 0.4 apart, 4.303 * 0.4 / sqrt(3) for three seeds, and
    # 1.960 * 0.4 for the rows; together 2.84.
    assert "mean 75.0 70.0 +5.0 (2.2 to 7.8) a difference that rows and seeds bear out" in text(
        chrome, "#pair tbody"
    )
    click(chrome, "[data-pair=one]")
    message = "mean 70.0 60.0 +10.0 (9.2 to 10.8) a difference of these two trained models"
    assert message in text(chrome, "#pair tbody")
