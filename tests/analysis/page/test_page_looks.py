"""The look of the report's page: screens, print, colour schemes, labels, and MLflow's frame."""

import base64
import itertools
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from analysis.page.page import PageInfo, page
from tests.support.browser import (
    awaited,
    click,
    media,
    press,
    screen,
    text,
    texts,
)
from tests.support.pages import few, info, many, model, opened

DESK, PHONE = (1280, 800), (390, 844)
FRAME = """<!doctype html><iframe sandbox="allow-scripts" width="1000" height="700"></iframe>
<script>
const bytes = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
const html = new TextDecoder().decode(bytes);
document.querySelector("iframe").src = URL.createObjectURL(new Blob([html], {type: "text/html"}));
</script>"""


def opened_on(
    chrome: Chrome,
    folder: Path,
    shown: PageInfo,
    size: tuple[int, int] = DESK,
    scheme: str = "light",
) -> Chrome:
    """Opens the page on a screen of this size and colour scheme."""
    screen(chrome, *size)
    media(chrome, scheme)
    return opened(chrome, folder, shown)


def bottom(chrome: Chrome, selector: str) -> float:
    return float(
        chrome.execute_script(
            "return document.querySelector(arguments[0]).getBoundingClientRect().bottom", selector
        )
    )


def colour(chrome: Chrome, selector: str, name: str) -> list[float]:
    element = chrome.find_element(By.CSS_SELECTOR, selector)
    return [
        float(value)
        for value in element.value_of_css_property(name).split("(")[1].rstrip(")").split(",")[:3]
    ]


def luminance(rgb: list[float]) -> float:
    """Returns the relative luminance of WCAG 2. rgb: red, green and blue from 0 to 255."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (value / 255 for value in rgb)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: list[float], b: list[float]) -> float:
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_the_first_screen_has_answer_and_picture(
    chrome: Chrome, tmp_path: Path, size: tuple[int, int]
) -> None:
    opened_on(chrome, tmp_path, many(200), size)
    assert bottom(chrome, "#facts") < size[1] and bottom(chrome, "#chart") <= size[1]


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_nothing_overflows_the_screen(
    chrome: Chrome, tmp_path: Path, size: tuple[int, int]
) -> None:
    name = "a-name-that-never-ends-" * 8
    shown = info(
        [
            model(name, 1.0, 70.0, settings={name: name}),
            model(name + "2", 2.0, 71.0, settings={name: "b"}),
        ],
        title=name,
    )
    opened_on(chrome, tmp_path, shown, size)
    for place in (0, 1):
        chrome.find_elements(By.CSS_SELECTOR, "[data-pair]")[place].click()
    click(chrome, "[data-row]")
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= size[0]


def test_a_table_that_is_wider_than_the_screen_says_that_it_scrolls(
    chrome: Chrome, tmp_path: Path
) -> None:
    opened_on(chrome, tmp_path, few(), PHONE)
    fits = "const e = document.querySelector('.wide'); return e.scrollWidth <= e.clientWidth"
    assert chrome.execute_script(fits) and text(chrome, "#sideways") == ""
    opened_on(chrome, tmp_path, few(), (320, 700))
    assert not chrome.execute_script(fits)
    assert text(chrome, "#sideways") == "It scrolls sideways →"


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_names_do_not_overlap(chrome: Chrome, tmp_path: Path, size: tuple[int, int]) -> None:
    opened_on(chrome, tmp_path, many(200), size)
    names = "[...document.querySelectorAll('#chart text.name')]"
    script = f"return {names}.map((name) => name.getBoundingClientRect().toJSON())"
    boxes = chrome.execute_script(script)
    assert len(boxes) > 3
    assert text(chrome, "#chart .told") == f"named: {len(boxes)} of 181", "180 and the teacher"
    for a, b in itertools.combinations(boxes, 2):
        assert (
            a["right"] <= b["left"]
            or b["right"] <= a["left"]
            or a["bottom"] <= b["top"] + 2
            or b["bottom"] <= a["top"] + 2
        )
    assert all(box["left"] >= 0 and box["right"] <= size[0] for box in boxes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_have_enough_contrast(chrome: Chrome, tmp_path: Path, scheme: str) -> None:
    opened_on(chrome, tmp_path, few(), scheme=scheme)
    ground = colour(chrome, "body", "background-color")
    assert (luminance(ground) > 0.5) == (scheme == "light")
    for selector in ("#claim", "#facts dd span", "#source", "#drawn", "#source a"):
        assert contrast(colour(chrome, selector, "color"), ground) >= 4.5, selector
    for mark in ("bilstm", "transformer", "bag", "teacher"):
        assert contrast(colour(chrome, f"#chart .mark.{mark}", "fill"), ground) >= 3, mark
    assert contrast(colour(chrome, "#chart .mark.baseline", "stroke"), ground) >= 3


def test_kinds_differ_in_shape_as_well_as_in_colour(chrome: Chrome, tmp_path: Path) -> None:
    opened_on(chrome, tmp_path, few())
    marks = [
        chrome.find_element(By.CSS_SELECTOR, f"#legend .mark.{kind}")
        for kind in ("bilstm", "transformer", "bag", "teacher")
    ]
    assert len({mark.get_attribute("d") for mark in marks}) == 4
    assert len({mark.value_of_css_property("fill") for mark in marks}) == 4


def test_the_legend_speaks_of_bytes_only_where_some_are_known(
    chrome: Chrome, tmp_path: Path
) -> None:
    page = few()
    opened_on(chrome, tmp_path, page)
    assert "larger: more bytes" in chrome.find_element(By.ID, "legend").text
    unknown = [one._replace(num_bytes=None) for one in page.models]
    opened_on(chrome, tmp_path, page._replace(models=unknown))
    assert "bytes" not in chrome.find_element(By.ID, "legend").text


def test_print_is_light_and_without_controls(chrome: Chrome, tmp_path: Path) -> None:
    opened_on(chrome, tmp_path, few(), scheme="dark")
    media(chrome, "dark", "print")
    assert luminance(colour(chrome, "body", "background-color")) == 1
    for selector in ("#filters", "#slider", ".tick"):
        assert not chrome.find_element(By.CSS_SELECTOR, selector).is_displayed(), selector
    assert chrome.find_element(By.CSS_SELECTOR, "#chart svg").is_displayed()
    media(chrome)
    printed = base64.b64decode(chrome.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF")


def test_tab_reaches_each_control_visibly(chrome: Chrome, tmp_path: Path) -> None:
    opened_on(chrome, tmp_path, few())
    reached: list[str] = []
    shown = "[e.id || e.name || e.className, getComputedStyle(e).outlineStyle]"
    script = f"const e = document.activeElement; return {shown}"
    for _ in range(24):
        press(chrome, Keys.TAB)
        name, outline = chrome.execute_script(script)
        reached.append(name)
        assert outline != "none", name
    assert [name for name in reached if name in {"budget", "slider", "task", "chart"}] == [
        "budget",
        "slider",
        "task",
        "chart",
    ]


def test_static_pictures_are_read_when_opened(chrome: Chrome, tmp_path: Path) -> None:
    opened_on(chrome, tmp_path, few())
    assert texts(chrome, ".picture summary") == ["Front", "Curves"]
    assert chrome.find_elements(By.CSS_SELECTOR, "img") == []
    click(chrome, ".picture summary")
    image = awaited(chrome, ".picture img")
    width = chrome.execute_async_script(
        "const [image, done] = arguments; image.decode().then(() => done(image.naturalWidth))",
        image,
    )
    assert width == 60
    assert text(chrome, ".picture figcaption") == "Quality against latency."


def test_it_works_in_a_frame_such_as_mlflows(chrome: Chrome, tmp_path: Path) -> None:
    (tmp_path / "frame.html").write_text(FRAME % base64.b64encode(page(few()).encode()).decode())
    screen(chrome, *DESK)
    chrome.get((tmp_path / "frame.html").as_uri())
    chrome.switch_to.frame(chrome.find_element(By.TAG_NAME, "iframe"))
    assert awaited(chrome, "#claim .name").text == "wide"
    click(chrome, "[data-row]")
    assert chrome.find_elements(By.CSS_SELECTOR, "a") == [] and "seed 0" in text(chrome, ".runs")
    chrome.switch_to.default_content()


def test_more_students_cost_no_more_layouts_and_rows(chrome: Chrome, tmp_path: Path) -> None:
    """These counts are what makes a page slow; tests/bench/page.py measures the times."""
    chrome.execute_cdp_cmd("Performance.enable", {})
    elements = []
    for num in (200, 400):
        opened_on(chrome, tmp_path, many(num))
        # Reading a size forces the layout of the page.
        chrome.execute_script("return document.body.offsetHeight")
        browser_metrics = {
            metric["name"]: metric["value"]
            for metric in chrome.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        }
        assert 0 < browser_metrics["LayoutCount"] < 20
        elements.append(chrome.execute_script("return document.querySelectorAll('*').length"))
    assert elements[1] - elements[0] < 2 * 200, "each student has a mark and no cells"
