"""Measures how large the report's page is and how quickly Chromium opens it.

    PYTHONPATH=. python tests/bench/page.py --models 200 5000

The students are made up, and so are their resampled differences in the mean and in each of five
tasks. Each page is opened five times in a browser with an empty profile; the medians are reported.
`opened` is the end of the load event, after which everything is drawn and responds. `painted` is
the first paint with content. `filtered` and `slid` are a change of the filter and of the budget,
until they are painted. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from selenium.webdriver import Chrome

from analysis.page.page import page
from analysis.presentation.table import markdown
from tests.support.browser import browser, screen
from tests.support.pages import many

TIMES = 5
OPENED = """const [navigation] = performance.getEntriesByType("navigation");
const [paint] = performance.getEntriesByName("first-contentful-paint");
return [navigation.loadEventEnd, paint ? paint.startTime : NaN];"""
CHANGED = """const [selector, value, event, done] = arguments;
const field = document.querySelector(selector);
const start = performance.now();
field.value = value;
field.dispatchEvent(new Event(event, {bubbles: true}));
requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));"""


class Measured(NamedTuple):
    """The measurements for one number of models; times are medians."""

    models: int
    mb: float
    made_s: float
    opened_ms: float
    painted_ms: float
    filtered_ms: float
    slid_ms: float


def once(driver: Chrome, address: str) -> list[float]:
    """Visits a page and returns the times opened, painted, filtered and slid, in ms."""
    driver.get(address)
    times: list[float] = driver.execute_script(OPENED)
    filtered = driver.execute_async_script(CHANGED, "[name=task]", "sentiment", "change")
    slid = driver.execute_async_script(CHANGED, "#slider", "400", "input")
    return [*times, filtered, slid]


def measure(count: int, folder: Path) -> Measured:
    """Measures a page with `count` models."""
    shown = many(count)
    start = time.perf_counter()
    text = page(shown)
    made_s = time.perf_counter() - start
    path = folder / f"{count}.html"
    path.write_text(text, "utf-8")
    with browser(folder / f"profile-{count}") as driver:
        screen(driver, 1280, 800)
        visits = [once(driver, path.as_uri()) for _ in range(TIMES)]
    medians = [statistics.median(column) for column in zip(*visits, strict=True)]
    return Measured(count, path.stat().st_size / 1e6, made_s, *medians)


def main() -> None:
    """Measures each number of models, then prints the table and the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", type=int, nargs="+", default=[200, 5000], help="students, one page each"
    )
    with TemporaryDirectory() as folder:
        results = [measure(count, Path(folder)) for count in parser.parse_args().models]
    header = ["models", "MB", "made: s", "opened: ms", "painted: ms", "filtered: ms", "slid: ms"]
    body = [
        [f"{m.models:,}", f"{m.mb:.2f}", f"{m.made_s:.2f}", *(f"{value:.0f}" for value in m[3:])]
        for m in results
    ]
    print("\n".join(markdown([header, *body])))
    print(json.dumps([m._asdict() for m in results]))


if __name__ == "__main__":
    main()
