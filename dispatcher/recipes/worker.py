"""A worker of Celery: celery -A worker worker --concurrency 4

The broker, such as redis://..., is in the variable BROKER. A task starts one evaluation: run.delay("eval 17", pod)
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from celery import Celery, Task
from gvisor_dispatch import Dispatcher, Policy, RetryLaterError, Settings
from kubernetes import client, config

config.load_config()
app = Celery("evaluations", broker=os.environ["BROKER"])
# The deadlines end before the soft limit, which counts from the start of the task.
settings = Settings(wait_deadline=600, start_deadline=300)
dispatcher = Dispatcher(client.ApiClient(), settings)


@app.task(
    bind=True,
    max_retries=60,
    soft_time_limit=1200,
    # For a task that ignores the soft one: at this limit SIGKILL can stop the whole pool (seen with billiard 4.3.2).
    time_limit=1260,
    # A worker that is killed acknowledges nothing, so the next delivery adopts the pod.
    acks_late=True,
    reject_on_worker_lost=True,
    acks_on_timeout=False,
)
def run(task: Task, evaluation: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Starts the evaluation once, however often the task is delivered: its id and the pod's name stay the same. At
    the soft limit dispatch() removes the pod unless it has started. Only what time can mend is retried, for an hour."""
    try:
        return asdict(dispatcher.dispatch(manifest, Policy.WAIT, evaluation))
    except RetryLaterError as error:
        raise task.retry(exc=error, countdown=60) from error
