"""Reading and marking a pod's JSON. All functions are pure."""

from __future__ import annotations

import copy
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from kubernetes import client

from .errors import PodError

Json = dict[str, Any]
# As JSON or as the client's own models.
Manifest: TypeAlias = Mapping[str, Any] | client.V1Pod | client.V1PodTemplateSpec | client.V1Job

# "gvisor" or "fallback", on every pod that this package decides on.
DISPATCH_LABEL = "gvisor-ready.dev/dispatch"
# A second call adopts only a pod with the same id.
ID_ANNOTATION = "gvisor-ready.dev/dispatch-id"
POLICY_ANNOTATION = "gvisor-ready.dev/dispatch-policy"
REASON_ANNOTATION = "gvisor-ready.dev/dispatch-reason"
MESSAGE_ANNOTATION = "gvisor-ready.dev/dispatch-message"
MAX_MESSAGE = 1000
# With these no pod starts in gVisor: rows of the table in kubectl/pods/features.ts, which a test compares.
NEVER_START = ("hostUsers: false", "recursiveReadOnly: Enabled", "mountPropagation: Bidirectional")
# Names that end in ten digits then have at most 63 characters, as pods of a Job and labels need it.
MAX_PREFIX = 53


# Of the fields that are read here.
TYPES: dict[str, type] = {
    **dict.fromkeys(("metadata", "spec", "template", "labels", "annotations", "nodeSelector", "affinity"), dict),
    **dict.fromkeys(("containers", "initContainers", "volumeMounts", "tolerations", "schedulingGates"), list),
    **dict.fromkeys(("kind", "name", "generateName", "namespace", "nodeName", "runtimeClassName"), str),
    "activeDeadlineSeconds": int,
}
TYPE_NAMES = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number"}


def truncated(text: str, limit: int = MAX_MESSAGE) -> str:
    """The API server accepts 256 KiB for all annotations of an object and 1,024 bytes for the message of an Event:
    https://kubernetes.io/docs/reference/kubernetes-api/"""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def as_json(manifest: Manifest) -> Json:
    """The JSON that the client would send, in which every field that is read here has its type. Raises PodError."""
    api: Any = client.ApiClient()
    try:
        found = api.sanitize_for_serialization(manifest)
    except (AttributeError, TypeError, RecursionError) as error:
        raise PodError("PodRefused", f"the manifest is no JSON: {error}") from error
    made: Json = of_type(found, dict, "the manifest")
    check_types(made)
    return made


def check_types(part: Json, path: str = "") -> None:
    """Raises PodError for a field of another type than Kubernetes has for it."""
    for key, value in part.items():
        where = f"{path}.{key}" if path else str(key)
        if value is not None and (kind := TYPES.get(key)):
            of_type(value, kind, where)
            for at, one in enumerate(value if kind is list else ()):
                check_types(of_type(one, dict, f"{where}[{at}]"), f"{where}[{at}]")
            if key in ("metadata", "spec", "template"):
                check_types(value, where)


def of_type(value: object, kind: type, where: str) -> Any:  # noqa: ANN401
    if isinstance(value, kind):
        return value
    raise PodError("PodRefused", f"{where} must be {TYPE_NAMES[kind]}, and is {json.dumps(value, default=str)[:60]}")


def checked(manifest: Manifest, runtime_class: str = "") -> Json:
    """It may name the given RuntimeClass. Raises PodError if it chooses its own node or another runtime."""
    found = as_json(manifest)
    spec = found.get("spec") or {}
    if spec.get("containers") is None:
        kind = found.get("kind") or "pod template"
        raise PodError("PodRefused", f"the {kind} has no spec.containers: it must be a Pod, a pod template or a Job")
    if spec.get("nodeName"):
        sentence = "the pod sets spec.nodeName: that bypasses the scheduler, and so the proof: use spec.nodeSelector"
        raise PodError("PodRefused", sentence)
    own = spec.get("runtimeClassName")
    if own and own != runtime_class:
        also = f"only {runtime_class} may be named here" if runtime_class else "leave that to the policy"
        raise PodError("PodRefused", f"the pod sets spec.runtimeClassName: {own}: {also}")
    return found


def never_starts(spec: Json) -> str:
    """What a pod asks for with which none starts in gVisor; empty if there is nothing of it."""
    containers = [one for kind in ("initContainers", "containers") for one in spec.get(kind) or []]
    mounts = [mount for one in containers for mount in one.get("volumeMounts") or []]
    asked = {f"{key}: {value}" for mount in mounts for key, value in mount.items()}
    asked.add(f"hostUsers: {json.dumps(spec.get('hostUsers'))}")
    return ", ".join(field for field in NEVER_START if field in asked)


def place_of(pod: Json) -> tuple[str, str]:
    """Raises PodError if one is missing."""
    meta = pod.get("metadata") or {}
    missing = " and ".join(f"metadata.{key}" for key in ("name", "namespace") if not meta.get(key))
    if missing:
        also = "; only create makes a name of metadata.generateName" if meta.get("generateName") else ""
        raise PodError("PodRefused", f"the pod needs {missing}{also}")
    return meta["namespace"], meta["name"]


def named(manifest: Json, dispatch_id: str) -> tuple[Json, str]:
    """The manifest with its final name, so that a repeated request finds what the first one made, and the id of its
    evaluation. A generateName without an id is another evaluation each time."""
    meta = manifest.get("metadata") or {}
    if meta.get("name"):
        return manifest, dispatch_id or digest(manifest)
    if not meta.get("generateName"):
        raise PodError("PodRefused", "create needs metadata.name or metadata.generateName")
    mine = dispatch_id or uuid.uuid4().hex
    name = f"{meta['generateName'][:MAX_PREFIX]}{hashlib.sha256(mine.encode()).hexdigest()[:10]}"
    return {**manifest, "metadata": {**meta, "name": name}}, mine


def template_of(made: Json) -> Json:
    """A pod is its own template."""
    found: Json = (made.get("spec") or {}).get("template") or made
    return found


def why_delayed(made: Json) -> str:
    """Why a pod or a Job may start long after it is created; empty if nothing holds it."""
    if (template_of(made).get("spec") or {}).get("schedulingGates"):
        return "it has scheduling gates"
    return "it is suspended" if (made.get("spec") or {}).get("suspend") else ""


def decided_outside(made: Json) -> bool:
    """Whether a fallback was decided: else it may run in gVisor alone."""
    labels = (template_of(made).get("metadata") or {}).get("labels") or {}
    return labels.get(DISPATCH_LABEL) == "fallback"


def digest(manifest: Mapping[str, Any]) -> str:
    """The default id."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:32]


def marked(manifest: Mapping[str, Any], label: str, annotations: Mapping[str, str]) -> Json:
    """A copy with the dispatch label, and annotations added."""
    made = copy.deepcopy(dict(manifest))
    meta = made.setdefault("metadata", {})
    meta["labels"] = {**(meta.get("labels") or {}), DISPATCH_LABEL: label}
    meta["annotations"] = {**(meta.get("annotations") or {}), **annotations}
    return made


def annotation(pod: Json, key: str) -> str:
    return str(((pod.get("metadata") or {}).get("annotations") or {}).get(key, ""))


def is_terminating(pod: Json) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_bound(pod: Json) -> bool:
    return bool(pod["spec"].get("nodeName"))


def has_started(pod: Json) -> bool:
    """Init containers count; a pod that is being deleted does not. A Job has started with its first pod."""
    if is_terminating(pod):
        return False
    if pod.get("kind") == "Job":
        return any((pod.get("status") or {}).get(count) for count in ("ready", "succeeded", "failed"))
    return phase(pod) in ("Running", "Succeeded") or any(
        "running" in state or "terminated" in state for state in states(pod)
    )


def has_outcome(pod: Json) -> bool:
    """A kubelet rejects a pod (phase Failed, no container) if the node has lost the label or its capacity meanwhile."""
    return has_started(pod) or phase(pod) == "Failed"


def phase(pod: Json) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def states(pod: Json) -> Iterator[Mapping[str, Any]]:
    """In the order in which they start."""
    status = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses"):
        for one in status.get(kind) or []:
            yield one.get("state") or {}


def waiting_reasons(pod: Json) -> set[str]:
    """The kubelet's reasons for containers that wait."""
    return {str(state["waiting"].get("reason")) for state in states(pod) if state.get("waiting")}


def why_rejected(pod: Json) -> str:
    status = pod.get("status") or {}
    return truncated(f"{status.get('reason')}: {status.get('message')}")


def why_waiting(pod: Json) -> str:
    """What a pod waits for, from the scheduler or the kubelet; empty if neither says."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason')}: {condition.get('message')}"
    for state in states(pod):
        waiting = state.get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""
