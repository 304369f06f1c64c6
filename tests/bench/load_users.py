"""Locust's users for tests/bench/load.py: each repeatedly asks for answers to 1 to 8 texts of a
task.

LOAD_TEXTS is a JSON file with the rows of each task that are drawn from, in the server's format. An
answer that does not cover all rows is an error. With LOAD_LARGE_MB, one more user sends a text of
that size each minute; an answer with another status than LOAD_LARGE_STATUS is an error.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, constant_pacing, task

TEXTS: dict[str, list[dict[str, str]]] = json.loads(Path(os.environ["LOAD_TEXTS"]).read_text())
LARGEST = 8
random.seed(0)


class Asking(FastHttpUser):  # type: ignore[misc]
    """Sends a request as soon as the last is answered. Its name has the task and number of
    texts."""

    wait_time = constant(0)

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        name, count = random.choice(list(TEXTS)), random.randint(1, LARGEST)
        body = {"dataframe_records": random.sample(TEXTS[name], count), "params": {"task": name}}
        with self.client.post(
            "/invocations", json=body, name=f"{name} {count}", catch_response=True
        ) as response:
            if wrong := problem(response, count):
                response.failure(wrong)


if LARGE_BYTES := int(os.environ.get("LOAD_LARGE_MB", "0")) * 1_000_000:

    class Large(FastHttpUser):  # type: ignore[misc]
        """Sends one large text each minute."""

        fixed_count = 1
        wait_time = constant_pacing(60)
        body = json.dumps({"dataframe_records": [{"text": "good " * (LARGE_BYTES // 5)}]})
        status = int(os.environ["LOAD_LARGE_STATUS"])

        @task  # type: ignore[untyped-decorator]
        def ask(self) -> None:
            with self.client.post(
                "/invocations",
                data=self.body,
                headers={"Content-Type": "application/json"},
                name="large 1",
                catch_response=True,
            ) as response:
                if response.status_code == self.status:
                    response.success()
                else:
                    response.failure(f"status {response.status_code}: {response.text}")


def problem(response: Any, count: int) -> str:
    """Returns what is wrong with an answer to `count` texts; empty if nothing is."""
    if response.status_code != 200:
        return f"status {response.status_code}: {response.text}"
    answers = response.json()["predictions"]
    if len(answers) != count:
        return f"{len(answers)} answers to {count} texts"
    return next(
        (
            str(answer)
            for answer in answers
            if answer["error"] is not None or answer["score"] is None
        ),
        "",
    )
