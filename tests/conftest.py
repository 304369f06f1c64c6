"""What several test files share: the tiny tasks of tests/support/tiny.py, tokenized once; and, by
tests/support/needs.py, what is skipped."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mkd.tasks.task import Task
from mkd.tokenization.tokens import TaskData
from tests.support import needs
from tests.support.exporter import keep_operators
from tests.support.tiny import Tokenizer, make_datas, make_tasks, make_tokenizer

HERE = Path(__file__).parent
LONGEST = [
    "docs/test_pages.py", "experiments/studies/test_worker.py", "mkd/test_pipeline.py",
    "experiments/tracking/test_serving.py", "experiments/on_spark/test_engine.py",
    "experiments/test_distill.py", "experiments/on_spark/test_corpus.py",
    "mkd/export/test_folder.py", "mkd/runtime/test_inference.py", "experiments/test_notebook.py",
    "experiments/tracking/test_run.py", "mkd/teachers/test_multitask.py",
    "mkd/test_processes.py", "experiments/test_search.py",
    "analysis/charts/test_text_boxes.py", "experiments/test_promote.py",
    "experiments/test_cli.py", "experiments/studies/test_study.py",
    "mkd/runtime/test_encoding.py", "experiments/test_full_disk.py", "docs/test_notebooks.py",
    "analysis/test_killed_report.py", "mkd/teachers/test_states.py",
    "experiments/tracking/test_record.py", "mkd/runs/test_candidate.py",
    "experiments/test_ablation.py", "mkd/test_pretraining.py", "mkd/tasks/test_demo.py",
    "mkd/teachers/test_architectures.py", "mkd/runs/test_submission.py",
    "analysis/statistics/test_error_rates.py", "analysis/test_report.py",
    "experiments/studies/test_space.py", "mkd/export/test_backends.py",
]  # fmt: skip
"""The slowest files come first: a slow one at the end would leave the other process idle."""


def pytest_configure(config: pytest.Config) -> None:
    """One thread: models this small gain nothing from a second, and threads that spin make a busy
    machine crawl."""
    torch.set_num_threads(1)
    keep_operators()
    config.pluginmanager.register(needs)


def pytest_collection_finish() -> None:
    """All that has been imported stays; to visit it takes half a second each time that Python
    collects garbage, and pytest makes it do so five times at its end."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {HERE / name: place for place, name in enumerate(LONGEST)}
    assert all(file.exists() for file in places), "each file of LONGEST is there"
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws from torch depends on no test before it, nor on which of them share a
    process."""
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
def tokenizer(cache: Path, tasks: list[Task]) -> Tokenizer:
    return make_tokenizer(cache, tasks)


@pytest.fixture(scope="session")
def datas(cache: Path, tasks: list[Task], tokenizer: Tokenizer) -> list[TaskData]:
    return make_datas(cache, tasks, tokenizer)


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """Whatever else this machine does: times are taken for those of one with nothing else to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mkd.evaluation.speed.MOST_BUSY", 1.0)
        yield
