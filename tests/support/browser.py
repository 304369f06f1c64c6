"""Headless Chromium for tests of HTML pages."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.needs import need, program

OWN_SCHEMES = ("about", "chrome", "chrome-extension", "chrome-untrusted", "devtools")
"""URL schemes of the browser's own pages, which differ between versions."""
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars",
      "--window-size=1280,800"),
)  # fmt: skip


@contextmanager
def browser(profile: Path) -> Iterator[Chrome]:
    """A browser with an empty profile in the folder `profile`; it records console messages and
    network requests."""
    need("chromium")
    options = ChromeOptions()
    options.binary_location = str(program("chromium"))
    for argument in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(program("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


def screen(driver: Chrome, width: int, height: int) -> None:
    """Emulates a screen of this size in CSS pixels, whatever the window's size."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def media(driver: Chrome, scheme: str = "light", kind: str = "") -> None:
    """Emulates media features: the colour scheme (`light` or `dark`) and the media type (`print`,
    or empty for the real one)."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": features})


def asked(driver: Chrome) -> list[str]:
    """The URLs that pages have requested since the last call, without the browser's own
    requests."""
    events: list[dict[str, Any]] = [
        json.loads(entry["message"])["message"] for entry in driver.get_log("performance")
    ]
    addresses = [
        str(event["params"]["request"]["url"])
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    return [address for address in addresses if address.split(":")[0] not in OWN_SCHEMES]


def complaints(driver: Chrome) -> list[str]:
    """The console messages since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]


def text(driver: Chrome, selector: str) -> str:
    """The text of the first matching element, with normalised whitespace."""
    return " ".join(driver.find_element(By.CSS_SELECTOR, selector).text.split())


def awaited(driver: Chrome, selector: str) -> WebElement:
    """Waits for an element that matches, and returns the first."""
    elements: list[WebElement] = WebDriverWait(driver, 20).until(
        lambda one: one.find_elements(By.CSS_SELECTOR, selector)
    )
    return elements[0]


def texts(driver: Chrome, selector: str) -> list[str]:
    """The text of each matching element, with normalised whitespace."""
    return [
        " ".join(element.text.split())
        for element in driver.find_elements(By.CSS_SELECTOR, selector)
    ]


def click(driver: Chrome, selector: str) -> None:
    driver.find_element(By.CSS_SELECTOR, selector).click()


def choose(driver: Chrome, name: str, option: str) -> None:
    """Selects an option of a drop-down list by its text."""
    Select(driver.find_element(By.NAME, name)).select_by_visible_text(option)


def press(driver: Chrome, *keys: str) -> None:
    """Sends keys to the focused element."""
    for key in keys:
        ActionChains(driver, duration=0).send_keys(key).perform()


def point(driver: Chrome, selector: str, click: bool = False, kind: str = "mouse") -> None:
    """Moves the mouse, or a finger (`touch`), to the centre of an element, and clicks if asked."""
    box = driver.execute_script(
        "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector
    )
    mouse = ActionBuilder(driver, mouse=PointerInput(kind, kind), duration=0)
    mouse.pointer_action.move_to_location(
        round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)
    )
    if click:
        mouse.pointer_action.click()
    mouse.perform()
