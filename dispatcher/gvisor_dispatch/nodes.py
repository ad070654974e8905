"""What a node's JSON says about taking a pod. Everything here is pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = Mapping[str, Any]
# What agents write in a Node.
CONDITION = "GVisorReady"
READY_LABEL = "gvisor.node-restriction.kubernetes.io/ready"
NOT_READY_TAINT = "gvisor.node-restriction.kubernetes.io/not-ready"
# It stays, empty, when a proof is withdrawn.
PROVEN_BY = "gvisor.node-restriction.kubernetes.io/proven-by"


@dataclass(frozen=True)
class Wanted:
    """What a pod asks of a node, besides room: labels, tolerated taints, affinity. Resources and volumes are left to
    the scheduler."""

    labels: Mapping[str, str]
    tolerations: Sequence[Json]
    affinity: Json = field(default_factory=dict)


def obstacle(node: Json, wanted: Wanted, *, unproven: bool = False) -> str | None:
    """Why a node takes no such pod now; None where it does. `unproven` asks whether it would if it were proven: the
    agent's own label and taint do not count."""
    if condition(node, "Ready").get("status") != "True":
        return "not Ready"
    labels = {key: value for key, value in wanted.labels.items() if not (unproven and key == READY_LABEL)}
    if not has_labels(node, labels):
        return f"not all of the labels {as_text(labels)}"
    if not has_affinity(node, wanted.affinity):
        return "the pod's node affinity"
    for taint in taints(node):
        ignored = taint.get("effect") == "PreferNoSchedule" or (unproven and taint.get("key") == NOT_READY_TAINT)
        if not ignored and not any(tolerates(one, taint) for one in wanted.tolerations):
            return f"taint {taint.get('key')}={taint.get('value') or ''}:{taint.get('effect')}"
    return None


def taints(node: Json) -> list[Json]:
    spec = node.get("spec") or {}
    cordon = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    return [*(spec.get("taints") or []), *(cordon if spec.get("unschedulable") else [])]


def tolerates(toleration: Json, taint: Json) -> bool:
    """The scheduler's rule: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return not toleration.get("key") or toleration["key"] == taint.get("key")
    if operator != "Equal":
        return False  # Gt and Lt: rather refuse than guess
    same_value = (toleration.get("value") or "") == (taint.get("value") or "")
    return toleration.get("key") == taint.get("key") and same_value


def condition(node: Json, kind: str) -> Json:
    """A condition of a node, {} where it has none of that type."""
    found = (node.get("status") or {}).get("conditions") or []
    return next((one for one in found if one.get("type") == kind), {})


def verdict(node: Json) -> tuple[str, str]:
    """What the agent of a node says: a status and a reason."""
    found = condition(node, CONDITION)
    return str(found.get("status", "Unknown")), str(found.get("reason", f"no condition {CONDITION}"))


def verdict_age(node: Json) -> float:
    """For how many seconds the agent's status has been the same; 0 where the Node does not say."""
    try:
        since = datetime.fromisoformat(condition(node, CONDITION).get("lastTransitionTime") or "")
        return (datetime.now(UTC) - since).total_seconds()
    except (TypeError, ValueError):
        return 0


def has_handler(node: Json, handler: str) -> bool:
    """Whether the kubelet lists a handler of its container runtime. With containerd 1.7 it lists none.
    https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/#NodeStatus"""
    handlers = (node.get("status") or {}).get("runtimeHandlers") or []
    return any(one.get("name") == handler for one in handlers)


def has_labels(node: Json, selector: Mapping[str, str]) -> bool:
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def has_affinity(node: Json, affinity: Json) -> bool:
    """Whether a node meets the required node affinity of a pod: one term of it, and every rule of that term.
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
    """A selector as the API and people write it: a=b,c=d."""
    return ",".join(f"{key}={value}" for key, value in selector.items())


class Tally:
    """What stands in the way on how many nodes. It holds some names of each kind and some kinds, however many
    nodes there are."""

    def __init__(self, names: int = 3, kinds: int = 8) -> None:
        self._limits = (names, kinds)
        self._seen: dict[str, tuple[int, list[str]]] = {}
        self._others = 0

    def add(self, what: str, node: str) -> None:
        names, kinds = self._limits
        if what not in self._seen and len(self._seen) >= kinds:
            self._others += 1
            return
        count, examples = self._seen.get(what, (0, []))
        self._seen[what] = (count + 1, examples if count >= names else [*examples, node])

    @property
    def count(self) -> int:
        return self._others + sum(count for count, _ in self._seen.values())

    def __str__(self) -> str:
        parts = []
        for what, (count, names) in self._seen.items():
            more = f" and {count - len(names):,} more" if count > len(names) else ""
            parts.append(f"{what}: {', '.join(names)}{more}")
        others = [f"other reasons: {self._others:,} more"] if self._others else []
        return "; ".join([*parts, *others])
