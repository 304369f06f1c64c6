"""Measures throughput, latency, errors and memory of a served student under load from Locust.

    pip install locust
    PYTHONPATH=. python tests/bench/load.py --model runs:/RUN_ID/student \\
        --data GLUE_FOLDER --tasks sst2 mrpc
    PYTHONPATH=. python tests/bench/load.py --model runs:/RUN_ID/student \\
        --data demo --tasks sentiment paraphrase --large-mb 50

Starts `mkd serve` on 127.0.0.1, and ends it by SIGTERM while requests are sent. The users
(tests/bench/load_users.py) are another process on the same machine, and send texts of the tasks'
dev splits. With --large-mb one of them sends a text of that size once a minute. The last line is
JSON.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import psutil

from analysis.presentation.table import markdown
from experiments.serve import MAX_BYTES
from mkd.config import DataConfig
from mkd.evaluation.speed import hardware
from mkd.tasks.sources import load_tasks
from tests.support.serve import Served, served

USERS = Path(__file__).with_name("load_users.py")
EVERY_S = 1.0
"""Seconds between two samples of the server's memory."""
LARGE = "large 1"
"""Name of the requests with a large text (load_users.py)."""
MANY = 1000
"""Number of rows of each request while the server is ended."""
WARM = 0.2
"""Share of the time after which memory should not grow any more."""


class Sample(NamedTuple):
    """Memory and processor time of the server's processes, `seconds` after the start of the
    load."""

    seconds: float
    mib: float
    anonymous_mib: float
    cpu_s: float


def sample(server: Served, begun: float) -> Sample:
    processes = server.processes()
    memory = [process.memory_info() for process in processes]
    mib, anonymous_mib = (
        sum(values) / (1 << 20)
        for values in zip(*((m.rss, m.rss - m.shared) for m in memory), strict=True)
    )
    times = [process.cpu_times() for process in processes]
    return Sample(
        time.monotonic() - begun, mib, anonymous_mib, sum(used.user + used.system for used in times)
    )


def texts(folder: str, tasks: list[str]) -> dict[str, list[dict[str, str]]]:
    """Returns the dev rows of each task in the server's format."""
    data = (
        DataConfig("demo", tasks=tasks) if folder == "demo" else DataConfig("glue", folder, tasks)
    )
    loaded = load_tasks(data)
    return {
        task.name: [
            {"text": a} if b is None else {"text": a, "text_pair": b}
            for a, b, *_ in next(iter(task.dev.values())).read()
        ]
        for task in loaded
    }


def load(
    server: Served, args: argparse.Namespace, folder: Path
) -> tuple[list[dict[str, Any]], list[Sample]]:
    """Runs Locust; returns its statistics by name of request, and samples of the server."""
    (folder / "texts.json").write_text(json.dumps(texts(args.data, args.tasks)))
    argv = [
        sys.executable, "-m", "locust", "--headless", "--locustfile", str(USERS), "--host",
        server.url,
    ]  # fmt: skip
    argv += [
        "--users",
        str(args.users),
        "--spawn-rate",
        str(args.users),
        "--run-time",
        f"{args.seconds}s",
        "--stop-timeout",
        "30",
    ]
    argv += ["--json-file", str(folder / "stats"), "--only-summary", "--exit-code-on-error", "0"]
    env = os.environ | {
        "LOAD_TEXTS": str(folder / "texts.json"),
        "LOAD_LARGE_MB": str(args.large_mb),
        "LOAD_LARGE_STATUS": "200" if args.large_mb * 1.01e6 < args.max_bytes else "413",
    }
    samples, begun = [], time.monotonic()
    with subprocess.Popen(argv, env=env, stdout=sys.stderr) as users:
        while users.poll() is None:
            samples.append(sample(server, begun))
            time.sleep(EVERY_S)
    if users.returncode:
        raise SystemExit(f"locust has ended with {users.returncode}")
    return json.loads((folder / "stats.json").read_text()), samples


def summary(stats: list[dict[str, Any]], samples: list[Sample]) -> dict[str, float]:
    """Returns rates and latency over all requests, and memory over time with its slope."""
    large = [s for s in stats if s["name"] == LARGE]
    stats = [s for s in stats if s["name"] != LARGE]
    requests = sum(s["num_requests"] for s in stats)
    errors = sum(s["num_failures"] for s in stats)
    answered = sum(s["num_requests"] * int(s["name"].split()[-1]) for s in stats)
    seconds = max(s["last_request_timestamp"] for s in stats) - min(s["start_time"] for s in stats)
    times = sum(
        (Counter({float(ms): n for ms, n in s["response_times"].items()}) for s in stats),
        Counter[float](),
    )
    p50, p99 = np.percentile(np.repeat(list(times), list(times.values())), (50, 99))
    at = {
        f"memory_{share}_mib": samples[(len(samples) - 1) * share // 100].mib
        for share in (10, 50, 100)
    }
    at["memory_largest_mib"] = max(s.mib for s in samples)
    late = np.array([(s.seconds / 60, s.mib) for s in samples[int(len(samples) * WARM) :]])
    slope = np.polyfit(late[:, 0], late[:, 1], 1)[0]
    return {
        "seconds": seconds, "requests": requests, "errors": errors, "error_rate": errors / requests,
        "requests_per_s": requests / seconds, "texts_per_s": answered / seconds,
        "p50_ms": float(p50), "p99_ms": float(p99),
        "max_ms": max(s["max_response_time"] for s in stats),
        **({
            "large_requests": large[0]["num_requests"], "large_errors": large[0]["num_failures"],
            "large_max_ms": large[0]["max_response_time"],
        } if large else {}),
        "server_cpu_ms_a_request": (samples[-1].cpu_s - samples[0].cpu_s) * 1000 / requests,
        **at, "memory_slope_mib_per_minute": float(slope),
    }  # fmt: skip


def seconds_to_end(server: Served, texts: list[dict[str, str]], users: int) -> float:
    """Returns the seconds from SIGTERM until all processes of the server have ended, under load."""
    body = json.dumps({"dataframe_records": (texts * MANY)[:MANY]}).encode()

    def ask() -> None:
        with suppress(OSError):  # the server ends
            while True:
                request = urllib.request.Request(
                    f"{server.url}/invocations", body, {"Content-Type": "application/json"}
                )
                urllib.request.urlopen(request, timeout=60).close()

    for _ in range(users):
        threading.Thread(target=ask, daemon=True).start()
    time.sleep(EVERY_S)
    running, begun = server.processes(), time.monotonic()
    server.process.terminate()
    _, left = psutil.wait_procs(running, timeout=60)
    return time.monotonic() - begun if not left else float("inf")


def main() -> None:
    """Runs the server and the users, and prints the table and the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", required=True, help="runs:/RUN_ID/student, or the folder of a logged model"
    )
    parser.add_argument("--data", default="glue_data", help="GLUE's folder")
    parser.add_argument(
        "--tasks", nargs="+", default=["sst2", "mrpc"], help="GLUE tasks that the student knows"
    )
    parser.add_argument("--users", type=int, default=8, help="number of simultaneous users")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--workers", type=int, default=1, help="number of server processes")
    parser.add_argument("--threads", type=int, default=1, help="of the model in each process")
    parser.add_argument("--large-mb", type=int, default=0, help="MB of a text sent each minute")
    parser.add_argument("--max-bytes", type=int, default=MAX_BYTES, help="of `mkd serve`")
    args = parser.parse_args()
    # An exit instead of a kill, so that the server is stopped too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    options = ["--workers", str(args.workers), "--threads", str(args.threads)]
    options += ["--max-bytes", str(args.max_bytes)]
    with (
        TemporaryDirectory() as name,
        served(args.model, Path(name) / "log", dict(os.environ), *options) as server,
    ):
        stats, samples = load(server, args, Path(name))
        first = texts(args.data, args.tasks[:1])[args.tasks[0]]
        ended = seconds_to_end(server, first, args.users)
    results = summary(stats, samples) | {"seconds_from_sigterm_to_end": ended}
    print(
        "\n".join(
            [
                "",
                *markdown(
                    [
                        ["what", "measured"],
                        *([key, f"{value:,.4g}"] for key, value in results.items()),
                    ]
                ),
                "",
            ]
        )
    )
    over_time = [samples[(len(samples) - 1) * share // 20] for share in range(21)]
    print(
        json.dumps(
            vars(args)
            | {
                "measured": results,
                "over_time": [s._asdict() for s in over_time],
                "hardware": hardware(),
            }
        )
    )


if __name__ == "__main__":
    main()
