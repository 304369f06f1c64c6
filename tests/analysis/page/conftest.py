"""The browser that the tests of a file share."""

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from tests.support.browser import browser, complaints, screen


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        screen(driver, 1280, 800)
        yield driver
        assert complaints(driver) == []
