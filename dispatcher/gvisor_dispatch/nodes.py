"""Whether a node takes a pod, from the Node's JSON. All functions are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]
# Keys that agents write to a Node.
CONDITION = "GVisorReady"
DOMAIN = "gvisor.node-restriction.kubernetes.io/"
# The main handler's; an additional handler's has its name behind a hyphen.
READY_LABEL = "gvisor.node-restriction.kubernetes.io/ready"
NOT_READY_TAINT = "gvisor.node-restriction.kubernetes.io/not-ready"
# Kept with an empty value when a proof is withdrawn.
PROVEN_BY = "gvisor.node-restriction.kubernetes.io/proven-by"
FAILED_BOOT = "gvisor.node-restriction.kubernetes.io/failed-boot"
# "false" on a node without any part of gVisor.
EXPECTED_LABEL = "gvisor.node-restriction.kubernetes.io/expected"
# The fleet controller's reason.
AGENT_LOST = "AgentLost"
CORDONED = "node.kubernetes.io/unschedulable"


def obstacle(node: Json, spec: Json, *, ignoring: str | None = None) -> str | None:
    """Why a node does not take a pod of this spec now; None if it does. `ignoring` a handler's label, also ignores the
    agent's taint, as if the node were proven. Resources and volumes are left to the scheduler."""
    if condition(node, "Ready").get("status") != "True":
        return "not Ready"
    selector = spec.get("nodeSelector") or {}
    labels = {key: value for key, value in selector.items() if key != ignoring}
    if not has_labels(node, labels):
        return f"not all of the labels {as_text(labels)}"
    if not has_affinity(node, spec.get("affinity") or {}):
        return "the pod's node affinity"
    for taint in taints(node):
        ignored = taint.get("effect") == "PreferNoSchedule" or (ignoring and taint.get("key") == NOT_READY_TAINT)
        if not ignored and not any(tolerates(one, taint) for one in spec.get("tolerations") or []):
            return f"taint {taint.get('key')}={taint.get('value') or ''}:{taint.get('effect')}"
    return None


def taints(node: Json) -> list[Json]:
    spec = node.get("spec") or {}
    cordon = [{"key": CORDONED, "effect": "NoSchedule"}]
    return [*(spec.get("taints") or []), *(cordon if spec.get("unschedulable") else [])]


def tolerates(toleration: Json, taint: Json) -> bool:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return not toleration.get("key") or toleration["key"] == taint.get("key")
    if operator != "Equal":
        return False  # Gt and Lt are not evaluated
    same_value = (toleration.get("value") or "") == (taint.get("value") or "")
    return toleration.get("key") == taint.get("key") and same_value


def condition(made: Json, kind: str) -> Json:
    """Of a node or a pod; {} if it has none of that type."""
    found = (made.get("status") or {}).get("conditions") or []
    return next((one for one in found if one.get("type") == kind), {})


def verdict(node: Json, label: str) -> tuple[str, str]:
    """Status and reason for the handler of a label. The condition is the main handler's; an additional one has only
    its label, whose "false" also stands for Unknown."""
    found = condition(node, CONDITION)
    if label == READY_LABEL or found.get("reason") == AGENT_LOST:
        return str(found.get("status", "Unknown")), str(found.get("reason", f"no condition {CONDITION}"))
    verdicts = {
        "true": ("True", f'label {label} is "true"'),
        "false": ("False", f'label {label} is "false", which names no cause'),
    }
    value = (node["metadata"].get("labels") or {}).get(label) or ""
    return verdicts.get(value, ("Unknown", f"no verdict in the label {label}"))


def verdict_age(node: Json, now: datetime) -> float:
    """Seconds since the main handler's status last changed; 0 if unknown. The node says when, by its own clock, so it
    is no longer than the API server has known the Node."""
    times = condition(node, CONDITION).get("lastTransitionTime"), node["metadata"].get("creationTimestamp")
    try:
        return min((now - datetime.fromisoformat(time or "")).total_seconds() for time in times)
    except (TypeError, ValueError):
        return 0


def in_trouble(node: Json) -> str | None:
    """Why what a node says may be due to its own state: not Ready, or tainted by Kubernetes, such as under pressure. A
    cordon is a person's."""
    if condition(node, "Ready").get("status") != "True":
        return "not Ready"
    states = [str(one.get("key")) for one in taints(node) if one.get("key") != CORDONED]
    return next((f"tainted {key}" for key in states if key.startswith("node.kubernetes.io/")), None)


def failed_before(node: Json) -> bool:
    """Whether a failure is not known to be of the node's present boot."""
    boot = ((node.get("status") or {}).get("nodeInfo") or {}).get("bootID")
    return not boot or (node["metadata"].get("annotations") or {}).get(FAILED_BOOT) != boot


def has_handler(node: Json, handler: str) -> bool:
    """With containerd 1.7 the kubelet lists none.
    https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/#NodeStatus"""
    handlers = (node.get("status") or {}).get("runtimeHandlers") or []
    return any(one.get("name") == handler for one in handlers)


def trace(node: Json, handler: str) -> str | None:
    """The handler, the condition, or a key of the agents, now or once."""
    if has_handler(node, handler):
        return f"the handler {handler}"
    if condition(node, CONDITION):
        return f"the condition {CONDITION}"
    meta = node["metadata"]
    keys = [
        *(meta.get("labels") or {}),
        *(meta.get("annotations") or {}),
        *(str(one.get("key")) for one in taints(node)),
    ]
    return next((key for key in keys if key.startswith(DOMAIN)), None)


def has_labels(node: Json, selector: Mapping[str, str]) -> bool:
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def has_affinity(node: Json, affinity: Json) -> bool:
    """Whether a node meets a term of a pod's required node affinity.
    https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity"""
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    labels, fields = node["metadata"].get("labels") or {}, {"metadata.name": node["metadata"]["name"]}
    for term in required.get("nodeSelectorTerms") or []:
        rules = [(labels, rule) for rule in term.get("matchExpressions") or []]
        rules += [(fields, rule) for rule in term.get("matchFields") or []]
        if rules and all(meets(*rule) for rule in rules):
            return True
    return False


def meets(labels: Mapping[str, str], rule: Json) -> bool:
    value, operator, wanted = labels.get(rule.get("key") or ""), str(rule.get("operator")), rule.get("values") or []
    if operator in ("Exists", "DoesNotExist"):
        return (value is not None) == (operator == "Exists")
    if operator in ("In", "NotIn"):
        return (value in wanted) == (operator == "In")
    try:
        over = int(value or "") - int(wanted[0])
    except (IndexError, TypeError, ValueError):
        return False
    return over > 0 if operator == "Gt" else over < 0


def as_text(selector: Mapping[str, str]) -> str:
    """A selector in the API's syntax: a=b,c=d."""
    return ",".join(f"{key}={value}" for key, value in selector.items())


def summary(found: Mapping[str, Sequence[str]], names: int = 3, kinds: int = 8) -> str:
    """At most `names` nodes of each of `kinds` obstacles."""
    parts = []
    for what, nodes in list(found.items())[:kinds]:
        more = f" and {len(nodes) - names:,} more" if len(nodes) > names else ""
        parts.append(f"{what}: {', '.join(nodes[:names])}{more}")
    others = sum(len(nodes) for nodes in list(found.values())[kinds:])
    return "; ".join([*parts, *([f"other reasons: {others:,} more"] if others else [])])
