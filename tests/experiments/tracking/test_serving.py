"""`mlflow models serve` of a student that a tiny distillation has logged: what it answers, refuses,
and has in memory."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.support.entry import TINY, command, environment, outcome
from tests.support.serve import Served, served

EXPORTED = [
    *TINY,
    "--baseline=false",
    '--data.tasks=["sentiment", "paraphrase", "similarity"]',
    '--export.backends=["onnx", "int8"]',
]
PAIR = {"text": "the film was good", "text_pair": "the film was fine"}


class Answer(NamedTuple):
    """What a server has answered: JSON, but for what it says of itself."""

    status: int
    found: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        assert self.status == 200, self.found
        rows: list[dict[str, Any]] = self.found["predictions"]
        return rows


def no_json(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def ask(server: Served, body: object, **params: object) -> Answer:
    """The answer to a request. body: JSON's, with the params of the model; bytes are sent as they
    are."""
    data = body if isinstance(body, bytes) else json.dumps(body | {"params": params}).encode()  # type: ignore[operator]
    request = urllib.request.Request(
        f"{server.url}/invocations", data, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return Answer(response.status, json.loads(response.read(), parse_constant=no_json))
    except urllib.error.HTTPError as error:
        return Answer(error.code, json.loads(error.read(), parse_constant=no_json))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    run_id = outcome(command(folder, "distill", *EXPORTED))["run_id"]
    env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{folder / 'mlflow.db'}")
    with served(f"runs:/{run_id}/student", folder / "log", env) as server:
        yield server
        running = server.processes()
        assert len(running) == 2, "MLflow's command and uvicorn"
    assert not any(process.is_running() for process in running)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["text"], "data": [["the film was good"], [""]]}},
        {"dataframe_records": [{"text": "the film was good"}, {"text": ""}]},
        {"inputs": [{"text": "the film was good"}, {"text": ""}]},
        {"inputs": {"text": ["the film was good", ""]}},
    ],
    ids=["split", "records", "inputs by row", "inputs by column"],
)
def test_each_form_of_request_gets_its_labels(server: Served, body: dict[str, Any]) -> None:
    rows = ask(server, body, task="sentiment").rows
    assert len(rows) == 2
    for row in rows:
        assert row.keys() == {"label", "score", "probabilities", "error"} and row["error"] is None
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["score"] == max(row["probabilities"])
        # The demo's labels, in their order.
        assert row["label"] == ["negative", "positive"][row["probabilities"].index(row["score"])]
    expected = ask(
        server,
        {"dataframe_records": [{"text": "the film was good"}, {"text": ""}]},
        task="sentiment",
    ).rows
    assert rows == expected


def test_pairs_have_labels_or_scores(server: Served) -> None:
    (same,) = ask(server, {"dataframe_records": [PAIR]}, task="paraphrase").rows
    assert same["label"] in ("equivalent", "not_equivalent")
    assert same["score"] == max(same["probabilities"])
    (alike,) = ask(server, {"dataframe_records": [PAIR]}, task="similarity").rows
    assert (alike["label"], alike["probabilities"]) == ("", [])
    assert isinstance(alike["score"], float)


@pytest.mark.parametrize("task", ["paraphrase", "similarity"])
def test_invalid_rows_get_an_error_in_their_places(server: Served, task: str) -> None:
    alone = ask(server, {"dataframe_records": [PAIR]}, task=task).rows
    bad: list[dict[str, object]] = [
        {"text": "alone"},
        {"text": None, "text_pair": "b"},
        {"text": "a", "text_pair": 3},
    ]
    rows = ask(server, {"dataframe_records": [PAIR, *bad, PAIR]}, task=task).rows
    told = [
        "the second text is missing",
        "the first text is missing",
        "the second text is of type int",
    ]
    assert [row["error"] for row in rows] == [
        None,
        *(f"{wrong}; allowed: a string" for wrong in told),
        None,
    ]
    assert all(
        (row["label"], row["score"], row["probabilities"]) == ("", None, []) for row in rows[1:4]
    )
    for row in (rows[0], rows[4]):
        assert row["label"] == alone[0]["label"]
        assert row["score"] == pytest.approx(alone[0]["score"], abs=1e-3)


def test_rows_without_a_text_are_told_in_the_other_forms_too(server: Served) -> None:
    split = {"columns": ["text", "text_pair"], "data": [["a", None], ["a", "b"]]}
    for body in (
        {"dataframe_split": split},
        {"inputs": [{"text": "a"}, {"text": "a", "text_pair": "b"}]},
    ):
        rows = ask(server, body, task="paraphrase").rows
        assert [row["error"] for row in rows] == [
            "the second text is missing; allowed: a string",
            None,
        ]


def test_a_column_that_is_left_out_is_missing_in_every_row(server: Served) -> None:
    rows = ask(
        server, {"dataframe_records": [{"text": "a"}, {"text": "b"}]}, task="paraphrase"
    ).rows
    assert [row["error"] for row in rows] == ["the second text is missing; allowed: a string"] * 2


def test_strange_texts_are_answered(server: Served) -> None:
    texts = ["", "\x00", "good " * 20_000, "映画はよかった", "🙂"]
    rows = ask(
        server, {"dataframe_records": [{"text": text} for text in texts]}, task="sentiment"
    ).rows
    assert [row["error"] for row in rows] == [None] * 5


ROW = {"dataframe_records": [{"text": "a"}]}


@pytest.mark.parametrize(
    ("body", "params", "told"),
    [
        (ROW, {"task": "other"}, "task is 'other'; allowed: paraphrase, sentiment, similarity"),
        (ROW, {"task": 3}, "'task': string"),
        (ROW, {"task": "paraphrase", "logits": True}, "row 0: the second text is missing"),
        ({"dataframe_records": [{"words": "a"}]}, {}, "there were extra inputs: ['words']"),
        ({"dataframe_split": {"columns": ["text"], "rows": []}}, {}, "must have 'data' field"),
        ({"dataframe_records": []}, {}, "Model is missing inputs ['text']"),
        ({"texts": ["a"]}, {}, "exactly one of the input fields"),
        ({"dataframe_records": "a"}, {}, "must be a list of records"),
        ({"dataframe_records": [{"text": "\ud800"}]}, {}, "surrogates not allowed"),
        (b'{"dataframe_records": [{"te', {}, "Unterminated string"),
        (b"\xff", {}, "valid JSON"),
    ],
)
def test_a_wrong_request_is_a_400_that_tells_what_is_wrong(
    server: Served, body: object, params: dict[str, Any], told: str
) -> None:
    answer = ask(server, body, **params)
    assert answer.status == 400
    assert told in answer.found["message"]
    assert ask(server, ROW).status == 200


def test_an_exported_student_is_served_without_torch(server: Served) -> None:
    *_, uvicorn = server.processes()
    loaded = [Path(found.path).name for found in uvicorn.memory_maps()]
    assert any(name.startswith("onnxruntime_pybind") for name in loaded)
    assert not [name for name in loaded if name.startswith(("libtorch", "_C."))]


def test_only_this_machine_can_reach_it(server: Served) -> None:
    *_, uvicorn = server.processes()
    listening = [
        found.laddr.ip
        for found in uvicorn.net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]
