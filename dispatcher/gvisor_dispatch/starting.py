"""Waits until a created pod runs, or removes it and says why it did not start."""

from __future__ import annotations

import re
import time

from .api import Api, object_path, title
from .availability import node_fails
from .errors import DispatchError, PodError, RefusedError, RetryLaterError
from .http import Request
from .pods import (
    Json,
    has_outcome,
    has_started,
    is_bound,
    is_terminating,
    phase,
    truncated,
    waiting_reasons,
    why_rejected,
    why_waiting,
)
from .settings import Settings
from .slots import Turn

# Reasons of the kubelet that only another pod mends: at once, and once they last, since a ConfigMap may follow its
# pod. https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/images/types.go
HOPELESS = {"InvalidImageName", "ErrImageNeverPull"}
HOPELESS_IF_LASTING = {"CreateContainerConfigError"}
# Words of registries and runtimes, without 429 and no connection.
NOT_FOR_US = (
    r"code = NotFound|manifest unknown|pull access denied|401 Unauthorized|403 Forbidden|unauthorized: |denied: "
    r"|authorization failed|authentication required|no basic auth credentials"
)
# Of a pod that the kubelet rejects: https://github.com/kubernetes/kubernetes/tree/master/pkg/kubelet/lifecycle
FORBIDDEN = {"SysctlForbidden", "AppArmor", "PodOSNotSupported", "PodOSSelectorNodeLabelDoesNotMatch"}
# In messages of the scheduler and the kubelet: an object that the pod refers to, or its image, does not exist.
MISSING = re.compile(
    r'(configmap|secret|persistentvolumeclaim) "[^"]+" not found'
    r"|references non-existent (config|secret) key"
    rf"|(ErrImagePull|ImagePullBackOff|Failed to pull image)(?s:.)*({NOT_FOR_US})"
)


async def start(api: Api, pod: Json, until: float, settings: Settings, turn: Turn) -> Json | DispatchError | None:
    """The pod once a container of it runs, an error if it did not start and was removed, or None if another client
    removed it. A pod has until `until` to get a node, and then start_deadline to pull its images. It is removed
    earlier when its node's agent reports that gVisor fails there, or when only another pod can start."""
    seen = await api.follow(pod, lambda one: is_bound(turn.sees(one)) or is_over(one), until)
    start_until = time.monotonic() + settings.start_deadline
    problem: DispatchError | None = None
    lasting = False
    looks = 0
    while seen and is_bound(seen) and not is_over(seen) and not problem and time.monotonic() < start_until:
        look_until = min(start_until, time.monotonic() + settings.node_interval)
        seen = await api.follow(seen, lambda one: is_over(turn.sees(one)) or is_hopeless(one), look_until)
        if seen is None or is_over(seen):
            break
        reasons, cause = waiting_reasons(seen), why_waiting(seen)
        hopeless = bool(HOPELESS_IF_LASTING & reasons or MISSING.search(cause))
        looks, lasting, lasted = looks + 1, hopeless, hopeless and lasting
        in_gvisor = pod["spec"].get("runtimeClassName") == settings.runtime_class
        if is_hopeless(seen) or lasted:
            problem = PodError("PodCannotStart", truncated(cause))
        elif in_gvisor and await node_fails(api, seen["spec"]["nodeName"], settings):
            sentence = f"gVisor failed on node {seen['spec']['nodeName']} before the pod started there"
            problem = RetryLaterError("NodeFailed", sentence)
        elif looks == 2 and MISSING.search(warning := await newest_warning(api, seen)):
            problem = PodError("PodCannotStart", truncated(warning))
    if seen and is_terminating(seen):
        await await_gone(api, seen, settings.remove_deadline)
        return None
    if seen is None or has_started(seen):
        return seen
    problem = problem or await why_not(api, seen)
    return await remove(api, seen, settings.remove_deadline) or problem


def is_hopeless(pod: Json) -> bool:
    return bool(HOPELESS & waiting_reasons(pod))


def is_over(pod: Json) -> bool:
    return has_outcome(pod) or is_terminating(pod)


async def why_not(api: Api, pod: Json) -> DispatchError:
    """Why a pod did not start, from the scheduler or the kubelet."""
    node = pod["spec"].get("nodeName")
    if phase(pod) == "Failed":
        text = why_rejected(pod)
        forbidden = pod["status"].get("reason") in FORBIDDEN
        return PodError("PodCannotStart", text) if forbidden else RetryLaterError("PodRejected", text)
    cause = await why_pending(api, pod)
    if MISSING.search(cause):
        return PodError("PodCannotStart", truncated(cause))
    if not node:
        return RetryLaterError("Unschedulable", truncated(f"no node took the pod in time: {cause}"))
    return RetryLaterError("StartDeadlineExceeded", truncated(f"the pod did not start on node {node} in time: {cause}"))


async def why_pending(api: Api, pod: Json) -> str:
    """What a pod waits for, from its status or else its newest Warning Event."""
    return why_waiting(pod) or await newest_warning(api, pod)


async def newest_warning(api: Api, pod: Json) -> str:
    try:
        found = await api.warnings(pod)
    except RefusedError as error:
        return error.message
    return f"{found[-1].get('reason')}: {found[-1].get('message')}" if found else "no Event says why"


async def remove(api: Api, pod: Json, deadline: float) -> Json | None:
    """Waits until the pod is gone, and returns None, or the pod if it has started."""
    until = time.monotonic() + deadline
    left = await withdraw(api, pod)
    if left is None:
        await await_gone(api, pod, until - time.monotonic())
    return left


async def withdraw(api: Api, made: Json) -> Json | None:
    """Returns what starts at the last moment unharmed: the deletion applies only to the state that was read."""
    while True:
        seen = await api.read_same(made)
        if seen is None or has_started(seen):
            return seen
        meta = seen["metadata"]
        if is_terminating(seen) or await delete(api, seen, resourceVersion=meta["resourceVersion"]):
            return None


async def await_gone(api: Api, pod: Json, seconds: float) -> None:
    """Raises RetryLaterError."""
    if await api.follow(pod, lambda _: False, time.monotonic() + seconds) is None:
        return
    meta = pod["metadata"]
    sentence = f"pod {meta['namespace']}/{meta['name']} is marked for deletion and was still there at the deadline"
    raise RetryLaterError("PodNotGone", f"{sentence} (is its node lost?). It may still run, so it was not replaced")


async def delete(api: Api, made: Json, **state: str) -> bool:
    """Deletes an object of this UID, with its pods, if it is still in this state. Returns whether it did."""
    body: Json = {"preconditions": {"uid": made["metadata"]["uid"], **state}, "propagationPolicy": "Background"}
    body["gracePeriodSeconds"] = 1  # whatever runs in it should not have started
    try:
        await api.request(f"delete {title(made)}", Request("DELETE", object_path(made), body=body))
    except RefusedError as error:
        if error.status in (404, 409):
            return False
        raise
    return True
