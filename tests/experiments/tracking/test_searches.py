"""The run of a search that is continued."""

from pathlib import Path

import mlflow
import pytest

from experiments.settings import SearchSettings
from experiments.tracking.searches import open_search
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
