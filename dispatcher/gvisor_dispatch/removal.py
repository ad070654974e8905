"""Removing a pod that did not start, without ever killing one that did."""

from __future__ import annotations

import time

from .api import Api
from .errors import PodNotGoneError, RefusedError
from .pods import Json, has_started, is_terminating


def remove(api: Api, pod: Json, deadline: float) -> Json | None:
    """Removes a pod that has not started and waits until it is surely gone: None. One that starts at the last
    moment is given back unharmed: the deletion holds only for the state that was seen."""
    until = time.monotonic() + deadline
    while True:
        seen = api.read_same(pod)
        if seen is None or has_started(seen):
            return seen
        if is_terminating(seen) or delete(api, seen):
            await_gone(api, seen, until - time.monotonic())
            return None


def await_gone(api: Api, pod: Json, seconds: float) -> None:
    """Waits until a pod that is being deleted is gone. Raises PodNotGoneError."""
    if api.follow(pod, lambda _: False, time.monotonic() + seconds) is None:
        return
    meta = pod["metadata"]
    sentence = f"pod {meta['namespace']}/{meta['name']} is marked for deletion and was not seen to go in time"
    raise PodNotGoneError("PodNotGone", f"{sentence} (is its node lost?). It may still run, so nothing took its place")


def delete(api: Api, seen: Json) -> bool:
    """Deletes the pod if it is still in the state that was seen; else False."""
    meta = seen["metadata"]
    same = {"preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
    what = f"delete pod {meta['namespace']}/{meta['name']}"
    try:
        api.ask(what, api.core.delete_namespaced_pod, meta["name"], meta["namespace"], body=same)
    except RefusedError as error:
        if error.status in (404, 409):
            return False
        raise
    return True
