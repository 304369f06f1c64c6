"""How large the report's page is and how quickly Chromium opens it.

    PYTHONPATH=. python tests/bench/page.py --models 200 5000

The students are made up, with what other dev rows would do to each two of them in the mean and in
each of five tasks. Each page is opened five times in a browser with an empty profile; the medians
are told. `opened` is the end of the load event, after which all is drawn and answers; `painted` the
first paint with content; `filtered` and `slid` a change of filter and of budget, until they are
painted. The last line is JSON.
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
    """One number of models; times are medians."""

    models: int
    mb: float
    made_s: float
    opened_ms: float
    painted_ms: float
    filtered_ms: float
    slid_ms: float


def once(driver: Chrome, address: str) -> list[float]:
    """Opened, painted, filtered, slid, in milliseconds, of one visit."""
    driver.get(address)
    times: list[float] = driver.execute_script(OPENED)
    filtered = driver.execute_async_script(CHANGED, "[name=task]", "sentiment", "change")
    slid = driver.execute_async_script(CHANGED, "#slider", "400", "input")
    return [*times, filtered, slid]


def measure(count: int, folder: Path) -> Measured:
    """A page of so many models."""
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
    """Each number of models, then the table and the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", type=int, nargs="+", default=[200, 5000], help="students, one page each"
    )
    with TemporaryDirectory() as folder:
        found = [measure(count, Path(folder)) for count in parser.parse_args().models]
    header = ["models", "MB", "made: s", "opened: ms", "painted: ms", "filtered: ms", "slid: ms"]
    body = [
        [f"{m.models:,}", f"{m.mb:.2f}", f"{m.made_s:.2f}", *(f"{value:.0f}" for value in m[3:])]
        for m in found
    ]
    print("\n".join(markdown([header, *body])))
    print(json.dumps([m._asdict() for m in found]))


if __name__ == "__main__":
    main()
