"""What README.md and docs/how-to/ tell a reader to type runs, with small settings.

tests/project/test_documents.py parses the blocks of all documents.
"""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import datasets
import pytest
from transformers import BertModel

from tests.support import official
from tests.support.blocks import README, ROOT, SITE, blocks_of, commands
from tests.support.checkpoints import bert, saved
from tests.support.database import put_database
from tests.support.entry import started
from tests.support.tiny import Tokenizer
from tests.support.typed import NOT_RUN, is_not_run, run_command, run_page


def has_something_to_run(page: str) -> bool:
    return any(
        block.language == "python"
        or block.language == "sh"
        and not all(is_not_run(page, words) for words in commands(block))
        for block in blocks_of(ROOT / page)
    )


PAGES = [str(page.relative_to(ROOT)) for page in (README, *sorted((SITE / "how-to").glob("*.md")))]
RUN = [page for page in PAGES if has_something_to_run(page)]


def test_the_list_of_what_is_not_run_is_exact() -> None:
    used = {
        page: {
            entry
            for block in blocks_of(ROOT / page)
            if block.language == "sh"
            for words in commands(block)
            if (entry := is_not_run(page, words))
        }
        for page in PAGES
    }
    assert {page: entries for page, entries in used.items() if entries} == {
        page: set(entries) for page, entries in NOT_RUN.items()
    }
    named = [
        reason.rpartition("; ")[2] for entries in NOT_RUN.values() for reason in entries.values()
    ]
    files = [name for name in named if name.startswith("tests/")]
    assert files and all((ROOT / name).is_file() for name in files)


def reviews(num: int, unlabelled: int = 0) -> list[dict[str, str]]:
    words = [("bad", "negative"), ("good", "positive")]
    return [
        {
            "review": f"a {words[i % 2][0]} film number {i}",
            "verdict": "" if i < unlabelled else words[i % 2][1],
        }
        for i in range(num)
    ]


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_files(folder: Path) -> None:
    """The files that the pages name, of a few rows each."""
    write_csv(folder / "train.csv", reviews(60, unlabelled=6))
    write_csv(folder / "dev.csv", reviews(20))
    tickets = [{"body": row["review"], "team": row["verdict"]} for row in reviews(60)]
    write_csv(folder / "tickets.csv", tickets)
    (folder / "unlabelled.jsonl").write_text(
        "".join(json.dumps({"body": f"some film number {i}"}) + "\n" for i in range(10))
    )
    (folder / "new.yaml").write_text("reviews: {train: train.csv, dev: dev.csv}\n")
    (folder / "texts.tsv").write_text("the film was good\nthe film was bad\n")
    (folder / "pairs.jsonl").write_text('{"text": "a man sings", "text_pair": "music"}\n')
    write_csv(folder / "reviews.csv", [{"text": "the film was good"}])
    dataset = datasets.Dataset.from_list(
        [{"text": row["review"], "label": row["verdict"]} for row in reviews(60)]
    )
    official.make_folder(folder / "glue_data")  # as experiments/configs/glue.yaml has it
    for name in ("imdb", "my_dataset_folder"):
        dataset.save_to_disk(folder / name)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it who has distilled and searched before: runs, cache and files."""
    folder = tmp_path_factory.mktemp("pages") / "home"
    (folder / "experiments").mkdir(parents=True)
    (folder / "experiments" / "configs").symlink_to(ROOT / "experiments" / "configs")
    put_database(folder)
    write_files(folder)
    done = started(folder, prepare).end()
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def prepare() -> None:
    run_command(["mkd", "distill", "--student.kind=bag"])
    run_command(["mkd", "search", "--config", "search", "--search.study", "NAME"])


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("values")
    wide = bert((), tokenizer, hidden_size=128)  # as the config `quick` needs it
    encoder = saved(BertModel(wide), tokenizer, folder / "encoder")
    return {
        "sentence-transformers/all-MiniLM-L6-v2": encoder,
        "ENCODER": encoder,
        "GLUE_FOLDER": "glue_data",
        "USER/NAME": "FOLDER",
        "budget_ms=1": "budget_ms=1000",  # of a busy machine
        "train.steps=2500": "train.steps=5",
    }


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_a_page_runs(page: str, home: Path, values: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(home, folder, symlinks=True)
    done = started(folder, run_page, page, values).end()
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
