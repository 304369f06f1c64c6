"""The run of a search that is continued, and what is read of it."""

from pathlib import Path

import mlflow
import pytest

from experiments.settings import SearchSettings
from experiments.tracking.searches import STUDY_FILE, finished_trials, open_search
from experiments.tracking.store import connected
from tests.support.database import use_store
from tests.support.entry import client


@pytest.mark.parametrize(("deleted", "why"), [(True, "in the deleted state"), (False, "not found")])
def test_a_missing_run_of_a_search_is_refused_with_the_reason(
    deleted: bool, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_store(tmp_path, monkeypatch)
    run = "0" * 32
    if deleted:
        with connected():
            run = mlflow.MlflowClient().create_run("0").info.run_id
        client(tmp_path).delete_run(run)
    config = SearchSettings(cache=str(tmp_path / "cache"))
    with (
        pytest.raises(ValueError, match="^search.study is 'mkd': its run ") as caught,
        open_search(config, "name", run, {}),
    ):
        raise AssertionError("the run was opened")
    message = str(caught.value)
    assert f"its run {run} cannot be continued in sqlite:///" in message and why in message
    assert message.endswith(
        "; allowed: a study whose run is in this tracking store, and not deleted"
    )
    assert "\n" not in message and mlflow.active_run() is None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.yaml", None, r"config.yaml of run \w+ in sqlite:///.* is not readable \(.*"),
        ("config.yaml", "[", r"config.yaml of run \w+ in sqlite:///.* is damaged \(.*"),
        ("config.yaml", "a: 1", r"config.yaml of run .* is damaged \(there is no setting 'a'.*"),
        ("config.yaml", "\0", r"config.yaml of run .* is damaged \(.*"),
        (STUDY_FILE, "[", r"study.json of run \w+ is damaged \(Expecting value.*"),
        (STUDY_FILE, "[]", r"study.json of run \w+ is damaged: it has no list of trials"),
        (STUDY_FILE, '{"trials": 3}', r"study.json of run .* it has no list of trials"),
        (STUDY_FILE, '{"trials": [{"state": "complete"}]}', r"study.json .* no list of trials"),
        (STUDY_FILE, '{"trials": [{"state": "pruned"}]}', ""),
    ],
)
def test_damaged_files_of_a_search_are_named(
    file: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_store(tmp_path, monkeypatch)
    with connected():
        tags = {"mkd.kind": "search", "mkd.study": "mkd"}
        run_id = mlflow.MlflowClient().create_run("0", tags=tags).info.run_id
    for name, text in {"config.yaml": "seed: 0\n", file: content}.items():
        if text is not None:
            client(tmp_path).log_text(run_id, text, name)
    if not message:
        assert finished_trials("mkd") == []
        return
    with pytest.raises(ValueError, match=f"^{message}$") as caught:
        finished_trials("mkd")
    assert "\n" not in str(caught.value)
