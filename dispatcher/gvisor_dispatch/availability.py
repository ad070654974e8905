"""Whether a pod could run in gVisor now and, if not, whether gVisor itself fails. The agents' verdicts in the
Node objects are the only evidence: a pod that does not start proves nothing, since its author controls it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from .api import Api
from .errors import RefusedError, RetryLaterError
from .nodes import (
    AGENT_LOST,
    EXPECTED_LABEL,
    NOT_READY_TAINT,
    PROVEN_BY,
    READY_LABEL,
    as_text,
    failed_before,
    has_handler,
    has_labels,
    in_trouble,
    obstacle,
    summary,
    taints,
    tolerates,
    trace,
    verdict,
    verdict_age,
)
from .pods import Json, truncated
from .settings import Settings

# A sandbox can have booted in gVisor there: the rows of lib/base/reasons.ts that say so, which a test compares.
WITHHELD = (
    "RunscTooOld",
    "IsolationWeakened",
    "AnnotationsPassFlags",
    "SandboxStuck",
    "LimitsNotEnforced",
    "PodsCannotStart",
    "NetworkNotReady",
)
INSTALLING = "InstallationUnderWay"
MISCONFIGURED = ("RuntimeClassMissing", "HandlerMismatch", "RuntimeClassUnscoped")


@dataclass(frozen=True)
class Availability:
    """Whether a gVisor pod could run: a reason code, a message, and some nodes that take the pod."""

    reason: str
    message: str
    nodes: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        return self.reason == "Available"

    @property
    def gvisor_fails(self) -> bool:
        """The only state that allows a fallback, if the namespace consents."""
        return self.reason == "GVisorFails"

    @property
    def withheld(self) -> bool:
        """Agents withhold nodes where gVisor boots."""
        return self.reason == "GVisorWithheld"

    @property
    def misconfigured(self) -> bool:
        return self.reason in MISCONFIGURED


@dataclass(frozen=True)
class RuntimeClass:
    """A RuntimeClass of gVisor. Its label is "true" on nodes where its handler is proven."""

    name: str
    label: str
    selector: Mapping[str, str]
    tolerations: Sequence[Json]


async def read_class(api: Api, name: str, settings: Settings) -> RuntimeClass | Availability:
    """A RuntimeClass, or why it does not lead to gVisor."""
    found = await api.find(f'read RuntimeClass "{name}"', f"/apis/node.k8s.io/v1/runtimeclasses/{quote(name)}")
    if found is None:
        return Availability("RuntimeClassMissing", f'there is no RuntimeClass "{name}"')
    handler, scheduling = str(found.get("handler")), found.get("scheduling") or {}
    selector = scheduling.get("nodeSelector") or {}
    own = f"{READY_LABEL}-{handler}"
    is_additional = selector.get(own) == "true"
    if not is_additional and handler != settings.handler:
        sentence = f'RuntimeClass "{name}" has the handler "{handler}", but does not select {own}: "true"'
        return Availability("HandlerMismatch", f'{sentence}; the main handler is "{settings.handler}"')
    label = own if is_additional else READY_LABEL
    return RuntimeClass(name, label, selector, scheduling.get("tolerations") or [])


async def availability(
    api: Api, found: RuntimeClass, spec: Mapping[str, Any], settings: Settings, enough: int = 1
) -> Availability:
    """Reads the nodes, and stops at `enough` of them that take the pod. "Available" is no promise: the scheduler
    decides on resources and volumes."""
    for _ in range(3):
        try:
            where = None if found.selector.get(found.label) == "true" else await unguarded(api, found, spec)
            if where:
                sentence = f'RuntimeClass "{found.name}" does not select {READY_LABEL}: "true", so its pods could land'
                return Availability("RuntimeClassUnscoped", f"{sentence} {where}")
            return await survey(api, found, spec, settings, enough)
        except RefusedError as error:
            if error.status != 410:  # the continue token has expired: start over
                raise
    raise RetryLaterError("ApiUnavailable", "cannot list nodes: the list expired three times before its end was read")


async def unguarded(api: Api, found: RuntimeClass, spec: Mapping[str, Any]) -> str | None:
    """Where a pod could land unproven if its class selects a pool of nodes and not the proven ones; None if the agents'
    taint keeps it away from every unproven node of the pool."""
    taint = {"key": NOT_READY_TAINT, "effect": "NoSchedule"}
    other_labels = [key for key in found.selector if f"{key}-".startswith(f"{READY_LABEL}-")]
    tolerated = any(tolerates(one, taint) for one in tolerations(found, spec))
    if not found.selector or other_labels or tolerated:
        return "on a node where gVisor was not proven"
    async for node in api.nodes(as_text(found.selector)):
        guarded = any(one.get("key") == NOT_READY_TAINT and one.get("effect") == "NoSchedule" for one in taints(node))
        if not guarded and not has_labels(node, {READY_LABEL: "true"}):
            return f"on {node['metadata']['name']}, which is not proven and lacks the taint {NOT_READY_TAINT}"
    return None


def tolerations(found: RuntimeClass, spec: Mapping[str, Any]) -> list[Json]:
    """A pod's tolerations once admission has added those of its RuntimeClass."""
    return [*found.tolerations, *(spec.get("tolerations") or [])]


async def survey(
    api: Api, found: RuntimeClass, spec: Mapping[str, Any], settings: Settings, enough: int
) -> Availability:
    """Surveys the proven nodes; without any, all nodes that the RuntimeClass would select once proven."""
    selector = {**found.selector, found.label: "true"}
    pod = {
        "nodeSelector": {**selector, **(spec.get("nodeSelector") or {})},
        "tolerations": tolerations(found, spec),
        "affinity": spec.get("affinity"),
    }
    proven = await among_proven(api.nodes(as_text(selector)), pod, enough)
    others = {key: value for key, value in selector.items() if key != found.label}
    return proven or await among_unproven(api, as_text(others), found.label, pod, settings)


async def among_proven(nodes: AsyncIterable[Json], pod: Json, enough: int) -> Availability | None:
    """The availability on proven nodes; None without any."""
    fit: list[str] = []
    unfit: defaultdict[str, list[str]] = defaultdict(list)
    async for node in nodes:
        problem = obstacle(node, pod)
        (unfit[problem] if problem else fit).append(node["metadata"]["name"])
        if len(fit) >= enough:
            break
    if fit:
        return Availability(
            "Available", f"proven nodes take the pod, among them {truncated(', '.join(fit))}", tuple(fit)
        )
    if unfit:
        return Availability("NoSchedulableNode", truncated(f"where gVisor is proven, no pod can go: {summary(unfit)}"))
    return None


async def among_unproven(api: Api, selector: str, label: str, pod: Json, settings: Settings) -> Availability:
    """Why no node is proven. gVisor fails if agents say so on every node that should run it, and one of these would
    take the pod. A node in doubt stays so whatever keeps pods away from it, and the pod's own selectors do not
    narrow this: otherwise a pod could reach the host's kernel by choosing its nodes, or its moment."""
    failing, withheld, lost = (defaultdict[str, list[str]](list) for _ in range(3))
    async for node in api.nodes(selector):
        name, (_, reason), now = node["metadata"]["name"], verdict(node, label), api.now
        if is_left_out(node, settings, now):
            continue
        doubt = why_undecided(node, label, settings, now)
        if doubt == AGENT_LOST:
            lost[reason].append(name)
        elif doubt:
            return Availability("GVisorUndecided", f"no node is proven, and {name} has no final verdict: {doubt}")
        elif reason in WITHHELD:
            withheld[reason].append(name)
        elif not obstacle(node, pod, ignoring=label):
            failing[reason].append(name)
    if lost:
        return Availability(
            AGENT_LOST, truncated(f"no node is proven, and some have lost their agent: {summary(lost)}")
        )
    if withheld:
        sentence = f"no node is proven, and agents withhold some where gVisor boots: {summary(withheld)}"
        return Availability("GVisorWithheld", truncated(sentence))
    if failing:
        sentence = "agents report that gVisor fails on every node that should run it, and these would take the pod"
        return Availability("GVisorFails", truncated(f"{sentence}: {summary(failing)}"))
    sentence = "no node is proven, and no agent says that gVisor fails on one that has it and would take the pod"
    return Availability("NoReadyNode", sentence)


def is_left_out(node: Json, settings: Settings, now: datetime) -> bool:
    """Whether a node was never meant to run gVisor: its agent has long found no part of it, and never a proof."""
    never_proven = PROVEN_BY not in (node["metadata"].get("annotations") or {})
    fails = verdict(node, READY_LABEL)[0] == "False" and verdict_age(node, now) >= settings.install_grace
    return never_proven and fails and has_labels(node, {EXPECTED_LABEL: "false"})


def why_undecided(node: Json, label: str, settings: Settings, now: datetime) -> str | None:
    """Why it is open whether gVisor fails on a node; None where its agent says, in this boot and for a reason that
    is not the node's own state, that it fails or is withheld. A node that was never proven may be in the middle of
    its installation. An additional handler is never evidence: its label is "false" also where the node is slow or
    full, or withheld."""
    status, reason = verdict(node, label)
    if label != READY_LABEL or status != "False" or reason == INSTALLING:
        return reason
    if trouble := in_trouble(node):
        return f"{reason}, while the node is {trouble}"
    if failed_before(node):
        return f"{reason}, which is not known to be of this boot"
    if reason in WITHHELD or PROVEN_BY in (node["metadata"].get("annotations") or {}):
        return None
    if verdict_age(node, now) < settings.install_grace:
        return f"{reason}, for less than {settings.install_grace:g} s where gVisor was never proven"
    return None if has_handler(node, settings.handler) else f"{reason}, and its kubelet lists no {settings.handler}"


async def trace_of_gvisor(api: Api, settings: Settings) -> str | None:
    """The first trace of gVisor, or of the intent to have it, in this cluster; None without one. The default class
    counts beside that of the settings, and a node's handler and keys count too, so a setting that fits another cluster
    hides nothing."""
    for name in dict.fromkeys((settings.runtime_class, Settings.runtime_class)):
        found = await read_class(api, name, settings)
        if isinstance(found, RuntimeClass) or found.reason != "RuntimeClassMissing":
            return f"RuntimeClass {name}"
    async for node in api.nodes(""):
        if found_there := trace(node, settings.handler):
            return f"{found_there} on node {node['metadata']['name']}"
    return None


async def node_fails(api: Api, name: str, settings: Settings) -> bool:
    """Whether the agent of one node reports that the handler of the RuntimeClass fails there."""
    node, found = await api.node(name), await read_class(api, settings.runtime_class, settings)
    return node is not None and isinstance(found, RuntimeClass) and verdict(node, found.label)[0] == "False"
