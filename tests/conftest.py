"""What several test files share: the tiny tasks of tests/tiny.py, tokenised once; and, by tests/needs.py, what is skipped."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from needs import pytest_collection_modifyitems as pytest_collection_modifyitems
from needs import pytest_terminal_summary as pytest_terminal_summary
from tiny import make_datas, make_tasks, make_tokenizer
from transformers import PreTrainedTokenizerBase

from mkd.tasks import Task
from mkd.tokens import TaskData


def pytest_configure() -> None:
    """One thread: models this small gain nothing from a second, and threads that spin make a busy machine crawl."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws from torch depends on no test before it, nor on which of them share a process."""
    torch.manual_seed(0)


@pytest.fixture(scope="module", autouse=True)
def seeded_module() -> None:
    """Nor does what a file's own fixtures draw."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tasks() -> list[Task]:
    """single, pair and score, 40 labelled training rows each."""
    return make_tasks()


@pytest.fixture(scope="session")
def tokenizer(cache: Path, tasks: list[Task]) -> PreTrainedTokenizerBase:
    return make_tokenizer(cache, tasks)


@pytest.fixture(scope="session")
def datas(cache: Path, tasks: list[Task], tokenizer: PreTrainedTokenizerBase) -> list[TaskData]:
    return make_datas(cache, tasks, tokenizer)


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """Whatever else this machine does: times are taken for those of one with nothing else to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mkd.speed.MOST_BUSY", 1.0)
        yield
