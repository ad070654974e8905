"""Waits until a created pod runs, or removes it and says why it did not start."""

from __future__ import annotations

import time

from .api import Api
from .availability import node_fails
from .errors import CapacityError, PodNotGoneError, RefusedError
from .pods import Json, has_outcome, has_started, is_bound, is_terminating, phase, truncated, why_waiting
from .settings import Settings


def start(api: Api, pod: Json, until: float, settings: Settings) -> Json | CapacityError | None:
    """Returns the pod once a container of it runs, an error if it did not start and was removed, or None if
    another client removed it. A pod has until `until` to get a node, and then start_deadline to pull its images. It is
    removed earlier when the agent of its node reports that gVisor fails there."""
    seen = api.follow(pod, lambda one: is_bound(one) or is_over(one), until)
    start_until = time.monotonic() + settings.start_deadline
    failing = False
    while seen and is_bound(seen) and not is_over(seen) and not failing and time.monotonic() < start_until:
        seen = api.follow(seen, is_over, min(start_until, time.monotonic() + settings.node_interval))
        in_gvisor = pod["spec"].get("runtimeClassName") == settings.runtime_class
        failing = bool(seen and not is_over(seen) and in_gvisor and node_fails(api, seen["spec"]["nodeName"]))
    if seen and is_terminating(seen):
        await_gone(api, seen, settings.remove_deadline)
        return None
    if seen is None or has_started(seen):
        return seen
    problem = why_not(api, seen, failing=failing)
    return remove(api, seen, settings.remove_deadline) or problem


def is_over(pod: Json) -> bool:
    return has_outcome(pod) or is_terminating(pod)


def why_not(api: Api, pod: Json, *, failing: bool) -> CapacityError:
    """Why a pod did not start, from the agent, the scheduler or the kubelet."""
    node, status = pod["spec"].get("nodeName"), pod.get("status") or {}
    if phase(pod) == "Failed":
        return CapacityError("PodRejected", truncated(f"{status.get('reason')}: {status.get('message')}"))
    if failing:
        return CapacityError("NodeFailed", f"gVisor failed on node {node} before the pod started there")
    cause = why_waiting(pod) or newest_warning(api, pod)
    if not node:
        return CapacityError("Unschedulable", truncated(f"no node took the pod in time: {cause}"))
    return CapacityError("StartDeadlineExceeded", truncated(f"the pod did not start on node {node} in time: {cause}"))


def newest_warning(api: Api, pod: Json) -> str:
    """The newest Warning Event about a pod."""
    meta = pod["metadata"]
    selector = f"involvedObject.uid={meta['uid']},type=Warning"
    try:
        events = api.request(
            "list events", api.core.list_namespaced_event, meta["namespace"], field_selector=selector, limit=50
        )
    except RefusedError as error:
        return error.message
    newest = max(events.get("items") or [], key=last_seen, default=None)
    return f"{newest.get('reason')}: {newest.get('message')}" if newest else "no Event says why"


def last_seen(event: Json) -> str:
    """When an Event was last seen; its two APIs fill different fields."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def remove(api: Api, pod: Json, deadline: float) -> Json | None:
    """Removes a pod that has not started, waits until it is gone, and returns None. Returns a pod that starts at
    the last moment unharmed: the deletion applies only to the state that was read."""
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
    sentence = f"pod {meta['namespace']}/{meta['name']} is marked for deletion and was still there at the deadline"
    raise PodNotGoneError("PodNotGone", f"{sentence} (is its node lost?). It may still run, so it was not replaced")


def delete(api: Api, seen: Json) -> bool:
    """Deletes the pod if it is still in the state that was read. Returns whether it did."""
    meta = seen["metadata"]
    same = {"preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
    what = f"delete pod {meta['namespace']}/{meta['name']}"
    try:
        api.request(what, api.core.delete_namespaced_pod, meta["name"], meta["namespace"], body=same)
    except RefusedError as error:
        if error.status in (404, 409):
            return False
        raise
    return True
