"""Why a pod runs in gVisor, or does not, from the API's own objects."""

from __future__ import annotations

from dataclasses import dataclass

from .api import Api
from .availability import availability, read_class
from .nodes import verdict
from .pods import MESSAGE_ANNOTATION, Json, annotation, has_started, is_bound, phase, truncated, why_rejected
from .settings import Settings
from .starting import why_pending

# Events of the agents, which look at a pod's processes. A user who may create Events could forge them, but none of them
# makes a pod count as in gVisor.
UNSANDBOXED, WEAKENED = "UnsandboxedPod", "WeakenedPod"


@dataclass(frozen=True)
class Explanation:
    """Whether a pod runs, or ran, in gVisor: None while it has not started, or where that is unknown."""

    in_gvisor: bool | None
    reason: str
    message: str
    node: str = ""


async def explanation(api: Api, pod: Json, settings: Settings) -> Explanation:
    """Explains a pod as it was read."""
    outside = await why_outside(api, pod, settings)
    if outside:
        return outside
    node = pod["spec"].get("nodeName") or ""
    if not has_started(pod):
        return Explanation(None, *await why_not_started(api, pod, settings), node)
    events = {event.get("reason"): str(event.get("message")) for event in await api.warnings(pod)}
    if UNSANDBOXED in events:
        return Explanation(False, UNSANDBOXED, events[UNSANDBOXED], node)
    found = await api.node(node)
    status, reason = verdict(found) if found else ("Unknown", "the node is gone")
    if status != "True":
        sentence = f"the pod's handler is gVisor's, but {node} is not proven now: GVisorReady is {status}: {reason}"
        return Explanation(None, "NodeUnproven", sentence, node)
    if WEAKENED in events:
        return Explanation(True, WEAKENED, events[WEAKENED], node)
    sentence = f"the pod's handler is gVisor's, and gVisor is proven on {node}: {reason}"
    return Explanation(True, "InGVisor", sentence, node)


async def why_outside(api: Api, pod: Json, settings: Settings) -> Explanation | None:
    """Why a pod's RuntimeClass does not lead to gVisor; None if it does."""
    node, name = pod["spec"].get("nodeName") or "", pod["spec"].get("runtimeClassName")
    if not name:
        record = annotation(pod, MESSAGE_ANNOTATION)
        sentence = "the pod has no runtimeClassName: it runs on the host's kernel" + (f"; {record}" if record else "")
        return Explanation(False, "NoRuntimeClass", sentence, node)
    found = await read_class(api, name)
    if found is None:
        return Explanation(None, "RuntimeClassMissing", f'there is no RuntimeClass "{name}"', node)
    if found.get("handler") != settings.handler:
        sentence = f'its RuntimeClass "{name}" has the handler "{found.get("handler")}", not "{settings.handler}"'
        return Explanation(False, "HandlerMismatch", sentence, node)
    return None


async def why_not_started(api: Api, pod: Json, settings: Settings) -> tuple[str, str]:
    """The reason and the message for a pod without a started container."""
    if phase(pod) == "Failed":
        return "PodRejected", why_rejected(pod)
    cause = await why_pending(api, pod)
    if is_bound(pod):
        return "NotStarted", truncated(f"the pod has a node and no container has started: {cause}")
    found = await availability(api, pod["spec"], settings)
    return "NotScheduled", truncated(f"no node has the pod: {cause}; {found.reason}: {found.message}")
