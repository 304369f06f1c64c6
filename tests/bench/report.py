"""Times the report of many runs, which are made up in a temporary store.

    python tests/bench/report.py --runs 200
    python tests/bench/report.py --runs 5000 --keep FOLDER

The runs are the trials of a study. They are written straight into the tables of the store, because
MLflow takes 0.1 s and more for each. The last line is JSON: the seconds to make the runs, the
seconds of the report's process from start to end, and the bytes of the page.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.support import stored  # noqa: E402

BATCH = 250
"""Number of runs per commit."""


def trials(number: int, study: str, parent: str) -> Iterator[stored.Made]:
    """Yields the trials of a study; every tenth is pruned or infeasible."""
    for index, (student, temperature, gain) in enumerate(stored.students(number)):
        state = {3: "pruned", 7: "infeasible"}.get(index % 20, "complete")
        tags = {
            "mkd.study": study,
            "mkd.trial": str(index),
            "mkd.state": state,
            "mkd.parent": parent,
            "mlflow.parentRunId": parent,
        }
        drawn = np.random.default_rng(index).dirichlet(np.ones(len(stored.SKILL)))
        weights = {
            task: round(float(share), 4) for task, share in zip(stored.SKILL, drawn, strict=True)
        }
        settings = {"loss.temperature": temperature, "train.sampling.weights": weights}
        run = stored.synthetic_run(
            stored.Wish(replace(student), gain=gain, kind="trial", settings=settings, tags=tags)
        )
        yield run if state == "complete" else run._replace(status="KILLED")


def write(
    database: Path, artifacts: Path, experiment_id: str, runs: Iterable[stored.Made]
) -> list[str]:
    """Inserts the runs and returns their ids."""
    ids: list[str] = []
    with sqlite3.connect(database) as connection:
        for run in runs:
            run_id, now = uuid.uuid4().hex, int(time.time() * 1000)
            place = artifacts / run_id / "artifacts"
            ids.append(run_id)
            _insert(connection, run, run_id, experiment_id, place.as_uri(), now)
            if run.predictions is not None and run.status == "FINISHED":
                place.mkdir(parents=True)
                run.predictions.to_parquet(place / "predictions.parquet")
            if len(ids) % BATCH == 0:
                connection.commit()
    return ids


def _insert(
    connection: sqlite3.Connection,
    run: stored.Made,
    run_id: str,
    experiment_id: str,
    artifact_uri: str,
    now: int,
) -> None:
    fields = (
        "run_uuid, name, status, start_time, end_time, lifecycle_stage, artifact_uri, "
        "experiment_id, source_type, user_id"
    )
    values = (
        run_id, run.name, run.status, now, now, "active", artifact_uri, int(experiment_id), "LOCAL",
        "bench",
    )  # fmt: skip
    connection.execute(
        f"insert into runs ({fields}) values ({','.join('?' * len(values))})", values
    )
    for table, pairs in (("params", run.params), ("tags", run.tags | {"mlflow.runName": run.name})):
        rows = [(key, value, run_id) for key, value in pairs.items()]
        connection.executemany(f"insert into {table} (key, value, run_uuid) values (?,?,?)", rows)
    points = [(key, value, now, 0, 0, run_id) for key, value in run.metrics.items()]
    curve = [
        ("selection/mean", value, now, 250 * (step + 1), 0, run_id)
        for step, value in enumerate(run.curve)
    ]
    into = "(key, value, timestamp, step, is_nan, run_uuid) values (?,?,?,?,?,?)"
    connection.executemany(f"insert into metrics {into}", points + curve)
    connection.executemany(f"insert into latest_metrics {into}", [*points, curve[-1]])


def study_json(name: str, runs: list[stored.Made], ids: list[str]) -> dict[str, Any]:
    """Returns what a search leaves in its run; importances and hypervolume are made up."""
    trial_rows = [
        {
            "number": number,
            "state": run.tags["mkd.state"],
            "run_id": run_id,
            "quality": run.metrics["search/quality"],
            "latency_ms": run.metrics["speed/onnx/b1-text-t1/p50_ms"],
            "seconds": 30.0,
            "settings": {name: run.params[name] for name in ("student.hidden", "loss.temperature")},
            "weights": None,
        }
        for number, (run, run_id) in enumerate(zip(runs, ids, strict=True))
    ]
    shares = {
        "student.hidden": 0.4,
        "student.layers": 0.25,
        "student.kind": 0.2,
        "loss.temperature": 0.1,
        "weights.sentiment": 0.05,
    }
    return {
        "study": name, "backend": "onnx", "setting": "b1-text-t1",
        "objectives": ["quality", "latency"], "reference": {"quality": 0.0, "latency_ms": 7.5},
        "importances": {"quality": shares, "latency": {"student.hidden": 1.0}},
        "space": {}, "trials": trial_rows,
        "hypervolume": [100 - 60 / (1 + index / 5) for index in range(len(runs))],
    }  # fmt: skip


def make(folder: Path, number: int, study: str = "bench") -> None:
    """Makes a store in the folder, with one study of `number` trials in the experiment `bench`."""
    client = stored.opened(folder)
    experiment_id = stored.experiment(client, folder, "bench")
    parent = client.create_run(
        experiment_id, run_name=f"search {study}", tags={"mkd.kind": "search", "mkd.study": study}
    )
    runs = list(trials(number, study, parent.info.run_id))
    ids = write(folder / "mlflow.db", folder / "artifacts" / "bench", experiment_id, runs)
    stored.log_json(
        client, parent.info.run_id, "study.json", json.dumps(study_json(study, runs, ids))
    )
    client.set_terminated(parent.info.run_id)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument(
        "--keep", default="", help="folder for the store and the report; empty: they are deleted"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.keep or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        make(folder, args.runs)
        seconds_made = time.perf_counter() - begun
        begun = time.perf_counter()
        command = [
            sys.executable, "-m", "analysis.report", "--study", "bench", "--to",
            str(folder / "report"),
        ]  # fmt: skip
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "PYTHONPATH": str(ROOT),
        }
        subprocess.run(command, check=True, env=environment)
        seconds = time.perf_counter() - begun
        page = (folder / "report" / "report.html").stat().st_size
        print(
            json.dumps(
                {
                    "runs": args.runs,
                    "seconds_made": seconds_made,
                    "seconds_report": seconds,
                    "page_bytes": page,
                }
            )
        )


if __name__ == "__main__":
    main()
