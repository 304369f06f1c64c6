"""The report's page: its data, its answer in words, and unusual reports."""

import json
import math
import re
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from analysis.page.page import packed, page
from mkd.evaluation.speed import ratio_text
from tests.support.browser import asked, choose, text, texts
from tests.support.pages import OTHER, deviations, few, info, many, model, opened


def facts(chrome: Chrome) -> dict[str, str]:
    return dict(zip(texts(chrome, "#facts dt"), texts(chrome, "#facts dd"), strict=True))


def budget(chrome: Chrome, value: str) -> None:
    chrome.find_element(By.ID, "budget").clear()
    chrome.find_element(By.ID, "budget").send_keys(value)


def test_settings_are_packed_as_indices_of_texts_and_shared_ones_are_stored_once() -> None:
    models = [
        model("a", 1.0, 70.0),
        model("b", 2.0, 71.0),
        model("c", 1.0, 72.0)._replace(settings={"loss.temperature": "2"}),
    ]
    data = packed(info(models))
    assert data["settings"]["shared"] == {"loss.temperature": "2"}
    place = data["models"]["fields"].index("settings")
    numbers = [row[place] for row in data["models"]["rows"]]
    unpacked = [
        {
            name: choices[number]
            for name, choices, number in zip(
                data["settings"]["names"], data["settings"]["texts"], row, strict=True
            )
            if number >= 0
        }
        | data["settings"]["shared"]
        for row in numbers
    ]
    assert unpacked == [one.settings for one in models]


def test_numbers_that_are_not_finite_are_null() -> None:
    data = packed(info([model("a", 1.0, 70.0)._replace(latency_ms=math.nan, retention=math.inf)]))
    row = dict(zip(data["models"]["fields"], data["models"]["rows"][0], strict=True))
    assert row["latency_ms"] is None and row["retention"] is None


def test_a_page_of_two_hundred_models_has_less_than_two_megabytes() -> None:
    assert len(page(many(200)).encode()) < 2e6


def test_no_text_of_a_run_ends_the_script_element() -> None:
    hostile = "</script><script>alert(1)</script><!--"
    written = page(info([model(hostile, 1.0, 70.0)], title="<script>alert(1)</script>"))
    assert written.count("<script") == written.count("</script>") == 2
    (data,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', written, re.DOTALL
    )
    assert json.loads(data)["models"]["rows"][0][0] == hostile


def test_the_page_requests_no_address_except_itself(chrome: Chrome, tmp_path: Path) -> None:
    asked(chrome)
    opened(chrome, tmp_path, few())
    for summary in chrome.find_elements(By.CSS_SELECTOR, ".picture summary"):
        summary.click()
    addresses = asked(chrome)
    assert (tmp_path / "report.html").as_uri() in addresses
    assert [
        address for address in addresses if not address.startswith(("data:", tmp_path.as_uri()))
    ] == []


def test_it_names_the_best_student_under_5_ms_and_its_loss(chrome: Chrome, tmp_path: Path) -> None:
    shown = few()
    opened(chrome, tmp_path, shown)
    assert text(chrome, "#claim") == "Under ms a call, the best student is wide."
    assert chrome.find_element(By.ID, "budget").get_property("value") == "5"
    message = (
        "2.7 points to its teacher, 1.7 to 3.7 with 95 %: a difference that rows and seeds bear out"
    )
    assert facts(chrome)["loses"] == message
    # t(0.975, 2) = 4.303 times the sd 0.4 over the root of 3.
    expected = "71.1 points mean of 5 tasks, 3 seeds, 70.1 to 72.1 with 95 % over seeds"
    assert facts(chrome)["scores"] == expected
    assert facts(chrome)["chosen at"] == "72.1 points on the selection split"
    assert facts(chrome)["takes"] == "2.50 ms int8, 1 raw text, 1 thread"
    assert facts(chrome)["runs"] == "7.1 × faster than its teacher, which takes 17.7 ms"


def test_ratios_of_a_busy_machine_are_marked_as_approximate(chrome: Chrome, tmp_path: Path) -> None:
    """They are formatted like those of `ratio_text` on the terminal."""
    times = {"busy": 17.7 / 2.5, "slow": 17.7 / 40, "idle": 17.7 / 3}
    models = [
        model(name, 17.7 / ratio, 70.0 - place, busy=name != "idle")
        for place, (name, ratio) in enumerate(times.items())
    ]
    opened(chrome, tmp_path, info(models))
    assert facts(chrome)["takes"] == "2.50 ms int8, 1 raw text, 1 thread, on a busy machine"
    assert facts(chrome)["runs"] == "about 7 × faster than its teacher, which takes 17.7 ms"
    heads = texts(chrome, "#table thead th, #table thead td")
    cells = texts(chrome, f"#table tbody tr > :nth-child({heads.index('× faster') + 1})")
    assert cells == [ratio_text(ratio, name != "idle") for name, ratio in times.items()]
    assert cells == ["about 7", "about 0.4", "5.9"]


def test_if_all_take_less_than_1_ms_the_first_budget_is_the_middle_of_the_front(
    chrome: Chrome, tmp_path: Path
) -> None:
    front = [model(f"s{place}", 0.1 * place, 60.0 + place) for place in (1, 2, 3, 4, 5)]
    opened(chrome, tmp_path, info([*front, model("off", 2.0, 50.0)]))
    assert chrome.find_element(By.ID, "budget").get_property("value") == "0.3"
    assert text(chrome, "#claim").endswith("the best student is s3.")


def test_the_best_of_a_task_and_a_seed_is_chosen_by_selection(
    chrome: Chrome, tmp_path: Path
) -> None:
    lucky = model("lucky", 1.0, 72.0, selection=69.0, selection_scores={"sentiment": 99.0})
    opened(chrome, tmp_path, info([lucky, model("chosen", 2.0, 70.0)]))
    assert text(chrome, "#claim").endswith("the best student is chosen.")
    assert facts(chrome)["scores"].startswith("70.0 points")
    assert facts(chrome)["chosen at"].startswith("71.0 points")
    choose(chrome, "task", "sentiment")
    assert text(chrome, "#claim").endswith("the best student at sentiment is lucky.")
    choose(chrome, "task", "mean of tasks")
    choose(chrome, "seed", "1")
    assert text(chrome, "#claim").endswith("the best student is lucky."), (
        "its run of this seed has 73 on selection"
    )


def test_without_a_selection_score_none_is_chosen(chrome: Chrome, tmp_path: Path) -> None:
    unknown: dict[str, Any] = {"selection": None, "selection_scores": {}}
    opened(chrome, tmp_path, info([model("old", 1.0, 72.0, **unknown), model("new", 2.0, 70.0)]))
    assert text(chrome, "#claim").endswith("the best student is new.")
    assert texts(chrome, "#table tbody th") == ["old", "new"]
    opened(
        chrome,
        tmp_path,
        info([model("old", 1.0, 72.0, **unknown), model("older", 2.0, 73.0, **unknown)]),
    )
    assert "ms a call none is chosen: no student has a score on the selection split here" in text(
        chrome, "#claim"
    )
    assert (
        facts(chrome) == {}
        and len(chrome.find_elements(By.CSS_SELECTOR, "#chart [data-mark].pale")) == 2
    )


def test_with_one_seed_it_makes_no_statement_about_the_method(
    chrome: Chrome, tmp_path: Path
) -> None:
    one = model("one", 1.0, 70.0, seeds=1, lost={"": (3.8, 2.1, 5.5)})
    opened(chrome, tmp_path, info([one], deviations=deviations(["one"], [""], 600, 0)))
    message = (
        "3.8 points to its teacher, 2.1 to 5.5 with 95 %: a difference of these two trained models"
    )
    assert facts(chrome)["loses"].startswith(message)
    # The half width is 1.96 times 0.6.
    assert facts(chrome)["scores"].endswith("1 seed, 68.8 to 71.2 with 95 % over dev rows")


def test_a_faster_student_that_is_about_as_good_is_named(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, few())
    assert (
        text(chrome, "#alike")
        == "small takes 1.00 ms, and the dev rows cannot tell its score from this one."
    )


def test_the_slider_changes_the_budget_and_the_answer(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, few())
    slider = chrome.find_element(By.ID, "slider")
    slider.send_keys(Keys.HOME)
    assert text(chrome, "#claim").endswith("the best student is bag.")
    assert chrome.find_element(By.ID, "budget").get_property("value") == "0.5"
    slider.send_keys(Keys.END)
    assert text(chrome, "#claim").endswith("the best student is slow.")
    assert text(chrome, "#least") == "0.500 ms" and text(chrome, "#most") == "17.7 ms"


def test_a_budget_that_no_student_keeps_names_the_fastest(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, few())
    budget(chrome, "0.1")
    assert (
        text(chrome, "#claim")
        == "Under ms a call there is no student. The fastest, bag, takes 0.500 ms."
    )
    assert facts(chrome)["loses"].startswith("7.8 points")


def test_the_answer_follows_the_task_the_kind_and_the_seed(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, few())
    choose(chrome, "kind", "transformer")
    assert text(chrome, "#claim").endswith("the best transformer is deep.")
    choose(chrome, "task", "sentiment")
    assert text(chrome, "#claim").endswith("the best transformer at sentiment is deep.")
    expected = "90.6 points at sentiment, 3 seeds, 89.6 to 91.6 with 95 % over seeds"
    assert facts(chrome)["scores"] == expected
    choose(chrome, "task", "mean of tasks")
    choose(chrome, "seed", "2")
    assert facts(chrome)["scores"] == "70.4 points mean of 5 tasks, seed 2"
    assert "of one seed" in facts(chrome)["loses"]


def test_unknown_values_are_shown_as_unknown(chrome: Chrome, tmp_path: Path) -> None:
    nothing: dict[str, Any] = {
        "teacher": "",
        "teacher_mean": None,
        "teacher_latency_ms": None,
        "retention": None,
    }
    alone = model("alone", 2.0, -3.2, seeds=1, **nothing)
    opened(chrome, tmp_path, info([alone, model("untimed", None, 60.0)], teachers=[], baselines=[]))
    assert facts(chrome) | {"has": ""} == {
        "loses": "– its runs name no teacher",
        "scores": "−3.2 points mean of 5 tasks, 1 seed",
        "chosen at": "−2.2 points on the selection split",
        "takes": "2.00 ms int8, 1 raw text, 1 thread",
        "has": "",
    }
    assert "1 student without milliseconds a call or score: in the table only." in text(
        chrome, "#drawn"
    )
    assert texts(chrome, "#table tbody th") == ["untimed", "alone"]


def test_a_loss_has_the_reports_interval_or_none(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, info([model("known", 1.0, 70.0, lost={"": (3.8, -0.1, 7.7)})]))
    assert facts(chrome)["loses"].endswith(
        "−0.1 to 7.7 with 95 %: no difference that rows and seeds bear out"
    )
    opened(chrome, tmp_path, info([model("unknown", 1.0, 74.8)]))
    assert facts(chrome)["is"] == "1.0 point above its teacher, interval not known"
    opened(chrome, tmp_path, info([model("better", 1.0, 74.8, lost={"": (-1.0, -1.5, -0.5)})]))
    assert facts(chrome)["is"].endswith(
        "0.5 to 1.5 with 95 %: a difference that rows and seeds bear out"
    )


def test_a_report_without_students_says_why(chrome: Chrome, tmp_path: Path) -> None:
    opened(chrome, tmp_path, info([], teachers=[]))
    assert text(chrome, "#claim").endswith(
        "there is nothing to choose from: the report holds no student."
    )
    assert text(chrome, "#left-out li") == "2 runs: no speed was measured (run-a, run-b)"
    assert text(chrome, "#left-out h2") == "Left out: 2 runs"


def test_another_machines_students_are_drawn_on_choice(chrome: Chrome, tmp_path: Path) -> None:
    opened(
        chrome,
        tmp_path,
        info(
            [
                model("here", 1.0, 70.0),
                model("too", 2.0, 71.0),
                model("there", 0.5, 72.0, machine=OTHER),
            ]
        ),
    )
    assert texts(chrome, "#table tbody th") == ["too", "here"]
    assert f"Students timed on others are not on this axis: {OTHER} (1)." in text(chrome, "#drawn")
    choose(chrome, "machine", OTHER)
    assert texts(chrome, "#table tbody th") == ["there"]


def test_markup_in_names_is_escaped(chrome: Chrome, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    opened(
        chrome,
        tmp_path,
        info(
            [model(hostile, 1.0, 70.0, settings={hostile: hostile}), model("b", 2.0, 71.0)],
            title=hostile,
        ),
    )
    assert text(chrome, "h1") == hostile and hostile in texts(chrome, "#table tbody th")
    assert chrome.find_elements(By.CSS_SELECTOR, "main img") == []
