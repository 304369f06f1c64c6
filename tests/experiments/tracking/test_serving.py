"""`mkd serve` with the logged student of a tiny distillation: answers, refusals, memory, and how it
ends."""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import psutil
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from experiments import serve
from experiments.serve import MAX_BYTES, MAX_ROWS
from tests.support.database import put_database
from tests.support.entry import TINY, command, environment, outcome
from tests.support.serve import Served, free_port, served

EXPORTED = [
    *TINY,
    "--baseline=false",
    '--data.tasks=["sentiment", "paraphrase", "similarity"]',
    '--export.backends=["onnx", "int8"]',
]
PAIR = {"text": "the film was good", "text_pair": "the film was fine"}


class Answer(NamedTuple):
    """A server's answer; content: its JSON."""

    status: int
    content: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        assert self.status == 200, self.content
        rows: list[dict[str, Any]] = self.content["predictions"]
        return rows


def no_json(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def ask(server: Served, body: object, **params: object) -> Answer:
    """The answer to a request. body: sent as JSON together with the params; bytes are sent
    unchanged."""
    data = body if isinstance(body, bytes) else json.dumps(body | {"params": params}).encode()  # type: ignore[operator]
    return send(server, data, "application/json")


def send(server: Served, data: bytes, kind: str) -> Answer:
    request = urllib.request.Request(f"{server.url}/invocations", data, {"Content-Type": kind})
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
def test_each_request_format_gets_the_same_labels(server: Served, body: dict[str, Any]) -> None:
    rows = ask(server, body, task="sentiment").rows
    assert len(rows) == 2
    for row in rows:
        assert row.keys() == {"label", "score", "probabilities", "error"} and row["error"] is None
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["score"] == max(row["probabilities"])
        # The labels of the demo, in order.
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
def test_invalid_rows_get_an_error_and_the_others_an_answer(server: Served, task: str) -> None:
    alone = ask(server, {"dataframe_records": [PAIR]}, task=task).rows
    bad: list[dict[str, object]] = [
        {"text": "alone"},
        {"text": None, "text_pair": "b"},
        {"text": "a", "text_pair": 3},
    ]
    rows = ask(server, {"dataframe_records": [PAIR, *bad, PAIR]}, task=task).rows
    errors = [
        "the second text is missing",
        "the first text is missing",
        "the second text is of type int",
    ]
    assert [row["error"] for row in rows] == [
        None,
        *(f"{wrong}; allowed: a string" for wrong in errors),
        None,
    ]
    assert all(
        (row["label"], row["score"], row["probabilities"]) == ("", None, []) for row in rows[1:4]
    )
    for row in (rows[0], rows[4]):
        assert row["label"] == alone[0]["label"]
        assert row["score"] == pytest.approx(alone[0]["score"], abs=1e-3)


def test_missing_texts_are_reported_in_the_other_request_formats(server: Served) -> None:
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


def test_a_missing_column_is_an_error_in_every_row(server: Served) -> None:
    rows = ask(
        server, {"dataframe_records": [{"text": "a"}, {"text": "b"}]}, task="paraphrase"
    ).rows
    assert [row["error"] for row in rows] == ["the second text is missing; allowed: a string"] * 2


def test_answers_below_the_confidence_are_left_to_the_teacher(server: Served) -> None:
    texts = ["the film was good", "the film was bad", "a film", "good bad good bad", "awful"]
    body = {"dataframe_records": [{"text": text} for text in texts]}
    always = ask(server, body, task="sentiment").rows
    assert [row.keys() & {"answered"} for row in always] == [set()] * len(texts)
    scores = sorted(row["score"] for row in always)
    least = (scores[1] + scores[2]) / 2  # two are below
    rows = ask(server, body, task="sentiment", min_confidence=least).rows
    assert [row["answered"] for row in rows] == [row["score"] >= least for row in always]
    assert sum(row["answered"] for row in rows) == 3
    for row, sure in zip(rows, always, strict=True):
        assert row["label"] == (sure["label"] if row["answered"] else None)
        assert (row["score"], row["probabilities"]) == (sure["score"], sure["probabilities"])
    refused = ask(server, body, task="sentiment", min_confidence=1.5)
    assert refused.status == 400
    assert_one_line(refused, "1.5")


def test_strange_texts_are_answered(server: Served) -> None:
    texts = ["", "\x00", "good " * 20_000, "映画はよかった", "🙂"]
    rows = ask(
        server, {"dataframe_records": [{"text": text} for text in texts]}, task="sentiment"
    ).rows
    assert [row["error"] for row in rows] == [None] * 5


ROW = {"dataframe_records": [{"text": "a"}]}


@pytest.mark.parametrize(
    ("body", "params", "message"),
    [
        (ROW, {"task": "other"}, "task is 'other'; allowed: paraphrase, sentiment, similarity"),
        (ROW, {"task": 3}, "'task': string"),
        (ROW, {"task": "paraphrase", "logits": True}, "row 0: the second text is missing"),
        ({"dataframe_records": [{"words": "a"}]}, {}, "there were extra inputs: ['words']"),
        ({"dataframe_split": {"columns": ["text"], "rows": []}}, {}, "must have 'data' field"),
        ({"dataframe_records": []}, {}, "Model is missing inputs ['text']"),
        ({"texts": ["a"]}, {}, "the request has texts, params; allowed: one of"),
        ({"dataframe_records": "a"}, {}, "must be a list of records"),
        ({"dataframe_records": [{"text": "a"}, 5, None]}, {}, "'records' format"),
        ({"dataframe_records": [{f"c{i}": "a" for i in range(101)}]}, {}, "has 101 columns"),
        ({"dataframe_records": [{f"c{i}": "a"} for i in range(101)]}, {}, "has 101 columns"),
        ({"inputs": {f"c{i}": ["a"] for i in range(101)}}, {}, "has 101 columns; allowed: at"),
        ({"dataframe_split": {"columns": ["c"] * 101, "data": []}}, {}, "has 101 columns"),
        ({"dataframe_split": {"columns": ["text"], "data": 3}}, {}, "'split' format"),
        ({"dataframe_split": {"columns": ["text", "text"], "data": [["a", "b"]]}}, {}, "text"),
        ({"inputs": 3}, {}, "Model is missing inputs ['text']"),
        ({**ROW, "inputs": []}, {}, "has dataframe_records, inputs, params; allowed: one of"),
        (b'{"dataframe_records": [{"text": "a"}], "params": [1]}', {}, "params is of type list"),
        (b'{"dataframe_records": [{"te', {}, "Unterminated string"),
        (b'{"dataframe_records": [{"text": "\xff"}]}', {}, "can't decode byte 0xff"),
        (b'{"dataframe_records": [{"text": NaN}]}', {}, "NaN is no number of JSON"),
        (b'{"dataframe_records": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, "too deeply"),
        (b'{"dataframe_records": [{"text": ' + b"9" * 5000 + b"}]}", {}, "4300 digits"),
        (b"", {}, "Expecting value"),
        (b"null", {}, "of type NoneType; allowed: an object"),
        (b"\xff", {}, "valid JSON"),
    ],
)  # fmt: skip
def test_a_wrong_request_gets_status_400_and_a_one_line_message(
    server: Served, body: object, params: dict[str, Any], message: str
) -> None:
    answer = ask(server, body, **params)
    assert answer.status == 400
    assert_one_line(answer, message)
    assert ask(server, ROW).status == 200


def assert_one_line(answer: Answer, expected: str) -> None:
    assert answer.content.keys() == {"error_code", "message"}
    message = answer.content["message"]
    assert expected in message and "\n" not in message and "Traceback" not in message
    assert len(message) <= 301


@pytest.mark.parametrize("text", [3, 1e300, True, {"a": 1}, ["a"], 10**400])
def test_a_text_of_a_wrong_type_gets_an_error(server: Served, text: object) -> None:
    (row,) = ask(server, {"dataframe_records": [{"text": text}]}, task="sentiment").rows
    assert row["error"] == f"of type {type(text).__name__}; allowed: a string"


@pytest.mark.parametrize(
    ("kind", "data", "status", "message"),
    [
        ("text/csv", b'text\nthe film\n"quo', 400, "unexpected end of data"),
        (
            "text/csv",
            b"text\na film\nnot bad, I like it\n",
            400,
            "line 3 of the request has 2 cells",
        ),
        ("text/csv", b"text,text_pair\na film\n", 400, "has 1 cells; allowed: 2, as in line 1"),
        ("text/csv", b"text,c,c\na,b,c\n", 400, "two columns of one name"),
        (
            "text/csv",
            b"text" + b",c" * 100_000 + b"\n",
            400,
            "has 100001 columns; allowed: at most",
        ),
        ("text/csv", b"text\n\xff\n", 400, "invalid start byte"),
        ("text/xml", b"<text/>", 415, "'text/xml'; allowed: application/json or text/csv"),
        ("application/json; charset=latin-1", b"{}", 415, "in UTF-8"),
    ],
)
def test_a_wrong_csv_or_content_type_gets_a_one_line_message(
    server: Served, kind: str, data: bytes, status: int, message: str
) -> None:
    answer = send(server, data, kind)
    assert answer.status == status
    assert_one_line(answer, message)


def test_rows_can_be_sent_as_csv(server: Served) -> None:
    good = {"dataframe_records": [{"text": "the film was good"}]}
    answer = send(server, b"text\nthe film was good\n", "text/csv")
    # Without the param `task`, the first task answers.
    assert answer.rows == ask(server, good).rows
    quoted = {"dataframe_records": [{"text": 'not bad, "I" like it'}, {"text": "the\nfilm"}]}
    answer = send(server, b'text\n"not bad, ""I"" like it"\n\n"the\nfilm"\n', "text/csv")
    assert answer.rows == ask(server, quoted).rows


def test_half_a_character_is_an_error_of_its_row(server: Served) -> None:
    texts = ["a film", "half \ud83d of it", "\U0001f600"]
    rows = ask(server, {"dataframe_records": [{"text": text} for text in texts]}).rows
    assert [bool(row["error"]) for row in rows] == [False, True, False]


def test_requests_above_the_default_limits_are_refused(server: Served) -> None:
    allowed = ask(server, {"dataframe_records": ROW["dataframe_records"] * MAX_ROWS})
    assert len(allowed.rows) == MAX_ROWS
    for body in (
        {"dataframe_records": ROW["dataframe_records"] * (MAX_ROWS + 1)},
        {"inputs": {"text": ["a"] * (MAX_ROWS + 1)}},
    ):
        refused = ask(server, body)
        assert refused.status == 400
        assert_one_line(refused, f"{MAX_ROWS + 1} rows; allowed: at most {MAX_ROWS}")
    large = json.dumps({"dataframe_records": [{"text": "good " * 10_000_000}]}).encode()
    before = memory(server)
    refused = ask(server, large)
    assert refused.status == 413
    assert_one_line(refused, f"{len(large)} bytes; allowed: at most {MAX_BYTES}")
    assert memory(server) - before < 20_000_000, "nothing of the 50 MB is kept"


def memory(server: Served) -> int:
    return sum(process.memory_info().rss for process in server.processes())


def test_an_exported_student_is_served_without_torch(server: Served) -> None:
    loaded = [
        Path(file.path).name for process in server.processes() for file in process.memory_maps()
    ]
    assert any(name.startswith("onnxruntime_pybind") for name in loaded)
    assert not [name for name in loaded if name.startswith(("libtorch", "_C."))]


def test_a_model_is_downloaded_without_torch() -> None:
    code = "import sys, experiments.tracking.downloads; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, timeout=300)


def test_the_server_listens_only_on_the_loopback_address(server: Served) -> None:
    listening = {
        connection.laddr.ip
        for process in server.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


SLOW = """
import time

import mlflow


class Slow(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        time.sleep(60 if "slow" in model_input["text"].tolist() else 0)
        return model_input["text"].tolist()


mlflow.models.set_model(Slow())
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that takes a minute for the text `slow`."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.py").write_text(SLOW)
    inputs = ModelSignature(Schema([ColSpec(DataType.string, "text")]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has no example and no type hints
        mlflow.pyfunc.save_model(
            folder / "model",
            python_model=str(folder / "slow.py"),
            signature=inputs,
            pip_requirements=[],
        )
    return folder / "model"


@pytest.mark.slow
def test_a_dead_worker_is_replaced_limits_are_options_and_sigterm_ends_a_prediction(
    slow: Path, tmp_path: Path
) -> None:
    bounds = ["--max-rows", "2", "--max-bytes", "200"]
    with served(str(slow), tmp_path / "log", environment(), *bounds) as server:
        (worker,) = (each for each in server.process.children() if not _is_tracker(each))
        worker.kill()  # after its first answer
        worker.wait(timeout=30)
        content: dict[str, Any] = {}
        end = time.monotonic() + 300
        while not content and time.monotonic() < end:
            with suppress(OSError, HTTPException):
                content = ask(server, {"dataframe_records": [{"text": "a"}]}).content
            time.sleep(0.1)
        assert content == {"predictions": ["a"]}

        rows = [{"text": "a"}, {"text": "b"}]
        assert ask(server, {"dataframe_records": rows}).content == {"predictions": ["a", "b"]}
        refused = ask(server, {"dataframe_records": [*rows, {"text": "c"}]})
        assert (refused.status, refused.content["message"]) == (
            400, "the request has 3 rows; allowed: at most 2",
        )  # fmt: skip
        refused = ask(server, {"dataframe_records": [{"text": "a" * 200}]})
        assert refused.status == 413 and "allowed: at most 200" in refused.content["message"]

        with ThreadPoolExecutor() as threads:
            asking = threads.submit(ask, server, {"dataframe_records": [{"text": "slow"}]})
            other = threads.submit(ask, server, {"dataframe_records": rows})
            assert other.result().status == 200, "others are answered meanwhile"
            running = server.processes()
            begin = time.monotonic()
            server.process.terminate()
            _, left = psutil.wait_procs(running, timeout=30)
            seconds = time.monotonic() - begin
            with suppress(OSError, HTTPException):  # the connection may close first
                assert asking.result() == Answer(
                    503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "the server ends"}
                )
    assert not left and seconds < 5
    assert "Traceback" not in (tmp_path / "log").read_text()


def _is_tracker(process: psutil.Process) -> bool:
    """Whether it is multiprocessing's resource tracker and not a worker."""
    return "resource_tracker" in " ".join(process.cmdline())


@pytest.mark.slow
def test_a_worker_ends_with_its_command(slow: Path, tmp_path: Path) -> None:
    with served(str(slow), tmp_path / "log", environment()) as server:
        running = server.processes()
        server.process.kill()
        _, left = psutil.wait_procs(running, timeout=30)
    assert not left


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["MODEL", "--port", "70000"], "--port: '70000'; allowed: a whole number from 1 to 65535"),
        (["MODEL", "--max-rows", "0"], "--max-rows: '0'; allowed: a whole number from 1"),
        (["MODEL", "--max-bytes", "1e9"], "--max-bytes: '1e9'; allowed: a whole number"),
        (["MODEL", "--host", "no.such.host.invalid"], "no.such.host.invalid:5001: "),
    ],
)
def test_a_wrong_option_prints_one_line(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    try:
        code = serve.main(argv)
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2 and line.startswith("error: ") and message in line


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("nowhere", "", "the model is 'nowhere': not found in "),
        ("raises", "1 / 0", "raises cannot be loaded; a line above tells why"),
        ("crashes", "import os; os.abort()",
         "crashes cannot be loaded: its worker process ended with SIGABRT"),
        ("exits", "import os; os._exit(7)",
         "exits cannot be loaded: its worker process ended with the code 7"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_prints_one_line(
    tmp_path: Path, slow: Path, model: str, code: str, message: str
) -> None:
    put_database(tmp_path)
    if code:
        shutil.copytree(slow, tmp_path / model)
        (tmp_path / model / "slow.py").write_text(code)
    argv = [sys.executable, "-m", "experiments.serve", model, "--port", str(free_port())]
    env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}")
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith(f"error: {message}"), done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_prints_one_line(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["MODEL", "--port", server.url.rpartition(":")[2]]) == 2
    assert "Address already in use" in capsys.readouterr().err
