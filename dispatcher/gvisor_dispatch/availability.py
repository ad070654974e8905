"""Whether gVisor could take a pod now and, if not, whether gVisor itself is to blame. The agents' word in the
Node objects is the only evidence: a pod that does not start proves nothing, since its author shapes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .api import Api
from .errors import ApiUnavailableError, RefusedError
from .nodes import CONDITION, NOT_READY_TAINT, PROVEN_BY, READY_LABEL, Tally, Wanted, as_text, condition, obstacle
from .pods import Json, capped
from .settings import Settings

# What an agent says on a node that was never meant to have gVisor, if gVisor was never proven there.
NOT_MEANT = ("HandlerNotConfigured", "RuntimeUnsupported")
# Sandboxes are gVisor's there, though not as wanted, or do not boot for a wrong line: the host's kernel would be worse.
WITHHELD = ("IsolationWeakened", "AnnotationsPassFlags", "RunscTooOld", "LimitsNotEnforced")
# What the fleet controller says of a node whose agent is gone.
AGENT_LOST = "AgentLost"
MISCONFIGURED = ("RuntimeClassMissing", "HandlerMismatch", "RuntimeClassUnscoped")


@dataclass(frozen=True)
class Availability:
    """Whether a gVisor pod could run: a reason code, a sentence for people, some nodes that take the pod."""

    reason: str
    message: str
    nodes: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        return self.reason == "Available"

    @property
    def gvisor_fails(self) -> bool:
        """The only state that allows a fallback."""
        return self.reason == "GVisorFails"

    @property
    def misconfigured(self) -> bool:
        return self.reason in MISCONFIGURED


def availability(api: Api, spec: Mapping[str, Any], settings: Settings, enough: int = 1) -> Availability:
    """Asks the API server; stops at `enough` nodes that take the pod. "Available" is no promise: room, affinity
    and volumes are the scheduler's to weigh."""
    name = settings.runtime_class
    runtime_class = api.find(f'read RuntimeClass "{name}"', api.node.read_runtime_class, name)
    problem = problem_of(runtime_class, settings)
    if runtime_class is None or problem:
        return problem or Availability("RuntimeClassMissing", "")
    for _ in range(3):
        try:
            return survey(api, runtime_class, spec, enough)
        except RefusedError as error:
            if error.status != 410:  # the list is older than the API server remembers: begin again
                raise
    raise ApiUnavailableError("cannot list nodes: the list expired three times before its end was read")


def problem_of(runtime_class: Mapping[str, Any] | None, settings: Settings) -> Availability | None:
    """Why this RuntimeClass is not one to rely on; None where it is."""
    name = settings.runtime_class
    if runtime_class is None:
        return Availability("RuntimeClassMissing", f'there is no RuntimeClass "{name}"')
    handler = runtime_class.get("handler")
    if handler != settings.handler:
        sentence = f'RuntimeClass "{name}" has the handler "{handler}", not "{settings.handler}"'
        return Availability("HandlerMismatch", sentence)
    if selector_of(runtime_class).get(READY_LABEL) != "true":
        sentence = f'RuntimeClass "{name}" does not select {READY_LABEL}: "true", so its pods could land'
        return Availability("RuntimeClassUnscoped", f"{sentence} on a node where gVisor was not proven")
    return None


def survey(api: Api, runtime_class: Mapping[str, Any], spec: Mapping[str, Any], enough: int) -> Availability:
    """First the proven nodes; only where there is none, those that agents judged otherwise."""
    selector = selector_of(runtime_class)
    scheduling = runtime_class.get("scheduling") or {}
    tolerations = [*(scheduling.get("tolerations") or []), *(spec.get("tolerations") or [])]
    labels = {**selector, **(spec.get("nodeSelector") or {})}
    proven = of_proven(api.nodes(as_text(selector)), Wanted(labels, tolerations), enough)
    if proven:
        return proven
    others = {key: value for key, value in labels.items() if key != READY_LABEL}
    return of_unproven(api.nodes(READY_LABEL), Wanted(others, tolerations))


def of_proven(nodes: Iterable[Json], wanted: Wanted, enough: int) -> Availability | None:
    """What proven nodes allow; None where there are none."""
    fit: list[str] = []
    unfit = Tally()
    for node in nodes:
        problem = obstacle(node, wanted)
        if problem:
            unfit.add(problem, node["metadata"]["name"])
        else:
            fit.append(node["metadata"]["name"])
            if len(fit) >= enough:
                break
    if fit:
        return Availability("Available", f"proven nodes take the pod, among them {capped(', '.join(fit))}", tuple(fit))
    if unfit.count:
        return Availability("NoSchedulableNode", capped(f"where gVisor is proven, no pod can go: {unfit}"))
    return None


def of_unproven(nodes: Iterable[Json], wanted: Wanted) -> Availability:
    """Why no node is proven. Only nodes count that would take the pod if gVisor worked: Ready, untainted, and with
    the pod's labels. gVisor is to blame when agents say so on such nodes, and none of these nodes is undecided,
    without an agent, or one where gVisor boots: a busy fleet is not a broken one."""
    failing, withheld, undecided, only_lost = Tally(), Tally(), Tally(), True
    for node in nodes:
        name, (status, reason) = node["metadata"]["name"], verdict(node)
        if obstacle(node, wanted, NOT_READY_TAINT):
            continue
        if reason in NOT_MEANT and PROVEN_BY not in (node["metadata"].get("annotations") or {}):
            continue
        if status == "False":
            (withheld if reason in WITHHELD else failing).add(reason, name)
        else:
            undecided.add(reason, name)
            only_lost = only_lost and reason == AGENT_LOST
    if undecided.count and only_lost:
        return Availability(AGENT_LOST, capped(f"no node is proven, and some have lost their agent: {undecided}"))
    if undecided.count:
        return Availability("GVisorUndecided", capped(f"no node is proven, and some are not judged yet: {undecided}"))
    if withheld.count:
        sentence = f"no node is proven, and agents withhold some where gVisor boots: {withheld}"
        return Availability("GVisorWithheld", capped(sentence))
    if failing.count:
        sentence = f"agents say that gVisor fails on every node that would take the pod: {failing}"
        return Availability("GVisorFails", capped(sentence))
    sentence = "no node is proven, and no agent says that gVisor fails on one that would take the pod"
    return Availability("NoReadyNode", sentence)


def node_fails(api: Api, name: str) -> bool:
    """Whether the agent of one node says that gVisor fails there."""
    found = api.ask("list nodes", api.core.list_node, field_selector=f"metadata.name={name}")
    return any(verdict(node)[0] == "False" for node in found.get("items") or [])


def verdict(node: Json) -> tuple[str, str]:
    """What the agent of a node says: a status and a reason."""
    found = condition(node, CONDITION)
    return str(found.get("status", "Unknown")), str(found.get("reason", "no condition"))


def selector_of(runtime_class: Mapping[str, Any]) -> Mapping[str, str]:
    """The node labels that a RuntimeClass asks for."""
    return (runtime_class.get("scheduling") or {}).get("nodeSelector") or {}
