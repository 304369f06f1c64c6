"""What several test files share: the tiny tasks of tests/tiny.py, tokenised once; and, by tests/needs.py, what is skipped."""

from collections.abc import Iterator
from pathlib import Path

import needs
import pytest
import torch
from tiny import make_datas, make_tasks, make_tokenizer
from transformers import PreTrainedTokenizerBase

from mkd.tasks.task import Task
from mkd.tokenization.tokens import TaskData

LONGEST = (
    "test_spark", "test_worker", "test_processes", "test_corpus", "test_export", "test_search", "test_tracking", "test_pipeline",
    "test_kill", "test_candidate", "test_ablation", "test_promote", "test_serving", "test_teaching", "test_states",
    "test_runtime", "test_demo", "test_architectures", "test_differences", "test_report", "test_space", "test_backends",
)  # fmt: skip
"""The files that take longest come first: a long one at the end would leave the other process idle."""


def pytest_configure(config: pytest.Config) -> None:
    """One thread: models this small gain nothing from a second, and threads that spin make a busy machine crawl."""
    torch.set_num_threads(1)
    config.pluginmanager.register(needs)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


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
        patch.setattr("mkd.evaluation.speed.MOST_BUSY", 1.0)
        yield
