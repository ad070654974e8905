"""Nodes, pods and kubelets for the tests, as JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fake_api import FakeApi

Json = dict[str, Any]
READY = "gvisor.node-restriction.kubernetes.io/ready"
READY_KVM = f"{READY}-runsc-kvm"
PROVEN_BY = "gvisor.node-restriction.kubernetes.io/proven-by"
PROVEN_BOOT = "gvisor.node-restriction.kubernetes.io/proven-boot"
FAILED_BOOT = "gvisor.node-restriction.kubernetes.io/failed-boot"
EXPECTED = "gvisor.node-restriction.kubernetes.io/expected"
RUNTIME_CLASS: Json = {
    "metadata": {"name": "gvisor"},
    "handler": "runsc",
    "scheduling": {"nodeSelector": {READY: "true"}},
}
# Of an additional handler.
KVM_CLASS: Json = {
    "metadata": {"name": "gvisor-kvm"},
    "handler": "runsc-kvm",
    "scheduling": {"nodeSelector": {READY_KVM: "true"}},
}
BOOT = "5b0c1d53-0e6b-4a1c-9d3c-1b3f8a6a1a11"


def node(name: str, ready: str = "true", reason: str = "SandboxProven", **extra: Any) -> Json:  # noqa: ANN401
    """A node as agents leave it, proven once; `extra` may have labels, annotations, taints, cordoned, the handlers
    that the kubelet lists, its own status as kubelet, the minutes since the agent's status last changed and since the
    Node exists, and the boot of a failure."""
    status = {"true": "True", "false": "False", "unknown": "Unknown"}[ready]
    failed = {FAILED_BOOT: extra.get("boot", BOOT)} if ready == "false" else {}
    conditions = [
        {"type": "Ready", "status": extra.get("kubelet", "True")},
        {
            "type": "GVisorReady",
            "status": status,
            "reason": reason,
            "lastTransitionTime": ago(extra.get("minutes", 0)),
        },
    ]
    labels = {READY: "true" if ready == "true" else "false", **extra.get("labels", {})}
    return {
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {**failed, **extra.get("annotations", {PROVEN_BY: ""})},
            "creationTimestamp": ago(extra.get("age", 10**6)),
        },
        "spec": {"taints": extra.get("taints", []), "unschedulable": extra.get("cordoned", False)},
        "status": {
            "conditions": conditions,
            "nodeInfo": {"bootID": BOOT},
            "runtimeHandlers": [{"name": name} for name in ("", *extra.get("handlers", []))],
        },
    }


def never_proven(reason: str, minutes: float, *handlers: str, **extra: Any) -> Json:  # noqa: ANN401
    """A node where gVisor was never proven, and is expected if the kubelet lists its handler."""
    expected = {EXPECTED: str("runsc" in handlers).lower()}
    known = {"annotations": {}, "labels": expected, "minutes": minutes, "handlers": handlers}
    return node("new", "false", reason, **{**known, **extra})


def ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


BAD = node("bad", "false", "SandboxFailed")


def kvm_node(name: str, kvm: str, ready: str = "true", reason: str = "SandboxProven", **extra: Any) -> Json:  # noqa: ANN401
    """A node where the additional handler was proven in this boot; `kvm` is the value of its label."""
    annotations = {PROVEN_BY: "", f"{PROVEN_BOOT}-runsc-kvm": BOOT}
    one = node(name, ready, reason, **{"annotations": annotations, "handlers": ["runsc", "runsc-kvm"], **extra})
    one["metadata"]["labels"][READY_KVM] = kvm
    return one


def fresh(name: str, **extra: Any) -> Json:  # noqa: ANN401
    """A node that has just joined: no agent has written anything."""
    one = node(name, annotations={}, **extra)
    one["metadata"]["labels"] = {}
    del one["status"]["conditions"][1]
    return one


def api_with(**fields: object) -> Callable[[FakeApi], None]:
    """Changes fields of a fake API server."""
    return lambda api: vars(api).update(fields)


def runs(api: FakeApi, name: str) -> None:
    """A scheduler that finds a node of the pod's class, and a kubelet on which everything works."""
    scheduling = (api.runtime_class or {}).get("scheduling") or {}
    in_class = "runtimeClassName" in api.pods[name]["spec"]
    selector = scheduling.get("nodeSelector") or {} if in_class else {}
    fits = (one["metadata"] for one in api.nodes if selector.items() <= one["metadata"]["labels"].items())
    api.update(name, spec={"nodeName": next(fits, {"name": "node-1"})["name"]})
    api.update(name, {"phase": "Running", "containerStatuses": [container("running")]})


def unschedulable(api: FakeApi, name: str) -> None:
    """A scheduler that finds no room."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "3 Insufficient cpu."}
    api.update(name, {"conditions": [condition]})


def pulls(api: FakeApi, name: str) -> None:
    """A kubelet that is still pulling the image."""
    waits_for(api, name, "ContainerCreating")


def waits_for(api: FakeApi, name: str, reason: str, message: str = "") -> None:
    """A kubelet with a reason why the container waits."""
    api.update(name, spec={"nodeName": "node-1"})
    api.update(name, {"containerStatuses": [container("waiting", reason=reason, message=message)]})


def cannot_pull(api: FakeApi, name: str) -> None:
    """A kubelet that cannot parse the image's name."""
    waits_for(api, name, "InvalidImageName", 'couldn\'t parse image name "A:b:c"')


def rejects(api: FakeApi, name: str, reason: str, message: str) -> None:
    """A kubelet that does not admit the pod."""
    api.update(name, {"phase": "Failed", "reason": reason, "message": message}, {"nodeName": "node-1"})


def initialises(api: FakeApi, name: str) -> None:
    """A kubelet whose pod is in its first init container."""
    api.update(name, spec={"nodeName": "node-1"})
    waits = [container("waiting", reason="PodInitializing")]
    api.update(name, {"initContainerStatuses": [container("running")], "containerStatuses": waits})


def container(state: str, **fields: Any) -> Json:  # noqa: ANN401
    """The status of a container."""
    known = {"name": "c", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    return {**known, "state": {state: fields}}


def pod(name: str = "eval-1", **spec: Any) -> Json:  # noqa: ANN401
    containers = [{"name": "c", "image": "i"}]
    return {"metadata": {"name": name, "namespace": "evals"}, "spec": {"containers": containers, **spec}}
