"""A worker of a task queue, such as Celery, with redelivery and soft time limits.

@app.task(bind=True, acks_late=True, soft_time_limit=300, max_retries=60)
def run(task, evaluation, manifest):
    return evaluate(task, dispatcher, evaluation, manifest)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from gvisor_dispatch import Dispatcher, Policy, RetryLaterError


class Task(Protocol):
    """The part of a bound Celery task that is used here."""

    def retry(self, *, exc: Exception, countdown: float) -> Exception: ...


def evaluate(task: Task, dispatcher: Dispatcher, evaluation: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Starts the evaluation once, however often the task is delivered, because the id and the pod's name stay the
    same. A soft time limit passes through dispatch(), and the next delivery adopts the pod. Only what time can mend
    is retried, for an hour here."""
    try:
        return asdict(dispatcher.dispatch(manifest, Policy.WAIT, evaluation))
    except RetryLaterError as error:
        raise task.retry(exc=error, countdown=60) from error
