"""Why a pod runs in gVisor, or does not, from the API's own objects."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from .api import Api
from .availability import Availability, RuntimeClass, availability, read_class
from .nodes import CONDITION, READY_LABEL, condition, verdict
from .pods import MESSAGE_ANNOTATION, Json, annotation, has_started, is_bound, phase, states, truncated, why_rejected
from .settings import Settings
from .starting import why_pending

# Events of the agents, which look at a pod's processes. The admission policy lets each agent write only as its own
# node; a user who may create Events could forge them, but none of them makes a pod count as in gVisor.
AGENT = "gvisor-ready"
UNSANDBOXED, WEAKENED = "UnsandboxedPod", "WeakenedPod"

# An agent looks at a pod within 3 s of its start, on a busy node within 30 s, and says then what it saw.
SEEN_SECONDS = 30
NOT_SEEN_YET = "NotSeenYet"

T = TypeVar("T")


@dataclass(frozen=True)
class Explanation:
    """Whether a pod runs, or ran, in gVisor: None while it has not started, or where that is unknown."""

    in_gvisor: bool | None
    reason: str
    message: str
    node: str = ""


def of_all(pods: Mapping[str, Explanation]) -> Explanation:
    """That of a Job: outside gVisor if one of its pods is, and in it if all are."""
    for place in (False, None, True):
        found = {name: one for name, one in pods.items() if one.in_gvisor is place}
        if found:
            said = "; ".join(f"{name}: {one.reason}: {one.message}" for name, one in found.items())
            return Explanation(place, next(iter(found.values())).reason, truncated(said))
    return Explanation(None, "PodMissing", "it has no pod")


class Explainer:
    """Explains pods as they were read. It reads each RuntimeClass and node once, so it serves only one call."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._seen: dict[str, Any] = {}

    async def explain(self, pod: Json) -> Explanation:
        """For evidence: a pod counts as in gVisor once its agent has seen it there, or had the time to object."""
        found = await self.explain_so_far(pod)
        if not found.in_gvisor:
            return found
        node, uid = found.node, pod["metadata"]["uid"]
        report = await self._once(f"report {node}", lambda: self._api.report(node))
        started = last_start(pod)
        outside, inside = uids_in(report, started)
        if uid in outside:
            sentence = f"the agent on {node} sees the pod outside gVisor: {outside[uid]}"
            return Explanation(False, UNSANDBOXED, sentence, node)
        if uid in inside or (started and (self._api.now - started).total_seconds() >= SEEN_SECONDS):
            return found
        sentence = (
            f"the pod has just started, and the agent on {node} may not have looked at it: ask again {SEEN_SECONDS} s "
            "after its start, or allow this program to read the reports of agents"
        )
        return Explanation(None, NOT_SEEN_YET, sentence, node)

    async def explain_so_far(self, pod: Json) -> Explanation:
        """What is known of a pod that has just started: its agent may still see it outside."""
        node, name = pod["spec"].get("nodeName") or "", pod["spec"].get("runtimeClassName")
        if not name:
            record = annotation(pod, MESSAGE_ANNOTATION)
            sentence = "the pod has no runtimeClassName: it runs on the host's kernel"
            return Explanation(False, "NoRuntimeClass", f"{sentence}; {record}" if record else sentence, node)
        found = await self._once(f"class {name}", lambda: read_class(self._api, name, self._settings))
        if isinstance(found, Availability):
            in_gvisor = False if found.reason == "HandlerMismatch" else None
            return Explanation(in_gvisor, found.reason, found.message, node)
        if not has_started(pod):
            return Explanation(None, *await self._why_not_started(pod, found), node)
        return await self._explain_started(pod, found, node)

    async def _explain_started(self, pod: Json, found: RuntimeClass, name: str) -> Explanation:
        source = {"component": AGENT, "host": name}
        warnings = [one for one in await self._api.warnings(pod, AGENT) if one.get("source") == source]
        events = {event.get("reason"): str(event.get("message")) for event in warnings}
        if UNSANDBOXED in events:
            return Explanation(False, UNSANDBOXED, events[UNSANDBOXED], name)
        node = await self._once(f"node {name}", lambda: self._api.node(name))
        status, reason = verdict(node, found.label) if node else ("Unknown", "the node is gone")
        if node is None or status != "True":
            sentence = f"the pod's handler is gVisor's, but {name} is not proven now: {status}: {reason}"
            return Explanation(None, "NodeUnproven", sentence, name)
        if found.label == READY_LABEL and not since_proof(pod, node):
            sentence = f"the pod started before gVisor was proven on {name}, or that is not known"
            return Explanation(None, "StartedUnproven", sentence, name)
        if WEAKENED in events:
            return Explanation(True, WEAKENED, events[WEAKENED], name)
        sentence = f"the pod's handler is gVisor's, and gVisor is proven on {name}: {reason}"
        return Explanation(True, "InGVisor", sentence, name)

    async def _why_not_started(self, pod: Json, found: RuntimeClass) -> tuple[str, str]:
        """The reason and the message for a pod without a started container."""
        if phase(pod) == "Failed":
            return "PodRejected", why_rejected(pod)
        cause = await why_pending(self._api, pod)
        if is_bound(pod):
            return "NotStarted", truncated(f"the pod has a node and no container has started: {cause}")
        spec = {part: pod["spec"].get(part) for part in ("nodeSelector", "tolerations", "affinity")}
        key = f"nodes {found.name} {json.dumps(spec, sort_keys=True)}"
        now = await self._once(key, lambda: availability(self._api, found, spec, self._settings))
        return "NotScheduled", truncated(f"no node has the pod: {cause}; {now.reason}: {now.message}")

    async def _once(self, what: str, read: Callable[[], Awaitable[T]]) -> T:
        if what not in self._seen:
            self._seen[what] = await read()
        found: T = self._seen[what]
        return found


def uids_in(report: Json | None, started: datetime | None) -> tuple[Mapping[str, str], Sequence[str]]:
    """The pods outside gVisor, with what was seen, and those in it, by UID. An old report says nothing, and one of
    before a container's start nothing of where that is: a pod whose container fails to start gets another sandbox."""
    pods = (report or {}).get("pods")
    if not isinstance(pods, dict) or pods.get("stale") is not False:
        return {}, []
    try:
        outside = [*pods["violating"], *pods["permitted"]]
        inside = [str(uid) for uid in pods["sandboxedUids"]]
        # The kubelet's times are whole seconds.
        is_later = started is not None and datetime.fromisoformat(pods["at"]) >= started + timedelta(seconds=1)
        return {str(one["uid"]): str(one["evidence"]) for one in outside}, inside if is_later else []
    except (KeyError, TypeError, ValueError):
        return {}, []


def last_start(pod: Json) -> datetime | None:
    """When the last of its containers started, by the clock of the node."""
    status = pod.get("status") or {}
    found = [one.get("startedAt") for state in states(pod) for one in state.values() if isinstance(one, dict)]
    times = sorted(time for time in found if isinstance(time, str))
    try:
        return datetime.fromisoformat(times[-1] if times else status.get("startTime") or "")
    except ValueError:
        return None


def since_proof(pod: Json, node: Mapping[str, Any]) -> bool:
    """Whether a node has been proven ever since its pod started, by the clock of the node."""
    times = condition(node, CONDITION).get("lastTransitionTime"), (pod.get("status") or {}).get("startTime")
    try:
        proven, started = (datetime.fromisoformat(time or "") for time in times)
        return proven <= started
    except (TypeError, ValueError):
        return False
