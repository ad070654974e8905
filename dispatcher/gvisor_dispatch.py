"""Start evaluation pods in gVisor, or say why not.

One module to copy into the program that creates pods for untrusted code. It needs Python 3.11 and the
official `kubernetes` client. It asks the API server whether a gVisor pod could run now, then

* uses the RuntimeClass, or
* with Policy.PREFER falls back to an ordinary pod, loudly: a log record, a label and annotations on the
  pod, and an Event; never in a namespace labelled `require-gvisor: "true"`, or
* refuses: GVisorUnavailableError with the reason, and nothing is left in the cluster.

`availability` and `may_fall_back` are pure; `Dispatcher` talks to the API server. What could not be asked
(API down, no permission) is an exception of the client, and never counts as "not available".
"""

from __future__ import annotations

import copy
import enum
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

log = logging.getLogger("gvisor_dispatch")

# On every pod that this module creates: "gvisor" or "fallback". Select on it to find fallbacks.
DISPATCH_LABEL = "gvisor-dispatch"
REASON_ANNOTATION = "gvisor-dispatch/reason"
MESSAGE_ANNOTATION = "gvisor-dispatch/message"
NAMESPACE_LABEL = "require-gvisor"
# For connecting and for answering, in seconds, of each request.
REQUEST_TIMEOUT = (5, 30)


class Policy(enum.Enum):
    """What to do where gVisor is not available: refuse, or run without it."""

    REQUIRE = "require"
    PREFER = "prefer"


@dataclass(frozen=True)
class Settings:
    """What the cluster calls things, and how long to wait, in seconds."""

    runtime_class: str = "gvisor"
    # The handler that the agent proves (its setting HANDLER).
    handler: str = "runsc"
    ready_label: str = "gvisor.node-restriction.kubernetes.io/ready"
    # From creating a pod to its running.
    start_deadline: float = 60
    # From asking for a pod's removal to its being gone.
    remove_deadline: float = 60


@dataclass(frozen=True)
class Availability:
    """Whether a gVisor pod could run: a reason code, a sentence for people, the nodes it could run on."""

    reason: str
    message: str
    nodes: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        return self.reason == "Available"


@dataclass(frozen=True)
class Started:
    """A pod that runs or has already ended, and whether gVisor was asked for. `reason` says why not."""

    namespace: str
    name: str
    node: str
    in_gvisor: bool
    reason: str
    message: str


class GVisorUnavailableError(Exception):
    """gVisor could not be had, and a fallback was not allowed or did not start. No pod is left."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class PodNotGoneError(Exception):
    """A pod that did not start was told to go and nobody confirms that it went: it may still run."""


def availability(
    runtime_class: client.V1RuntimeClass | None,
    nodes: Sequence[client.V1Node],
    pod: client.V1PodSpec,
    settings: Settings,
) -> Availability:
    """Judges what the API server holds. Of the pod, node selector and tolerations count. Affinity, resources
    and volumes are the scheduler's to weigh: "Available" is no promise."""
    name = settings.runtime_class
    if runtime_class is None:
        return Availability("RuntimeClassMissing", f'there is no RuntimeClass "{name}"')
    if runtime_class.handler != settings.handler:
        return Availability(
            "HandlerMismatch",
            f'RuntimeClass "{name}" has the handler "{runtime_class.handler}", not "{settings.handler}"',
        )
    selector = node_selector_of(runtime_class)
    if selector.get(settings.ready_label) != "true":
        return Availability(
            "RuntimeClassUnscoped",
            f'RuntimeClass "{name}" does not select {settings.ready_label}: "true", so its pods could land on a '
            "node where gVisor was not proven",
        )
    wanted = {**selector, **(pod.node_selector or {})}
    scheduling = runtime_class.scheduling
    tolerations = [*(scheduling.tolerations or []), *(pod.tolerations or [])]
    ready = [node for node in nodes if has_labels(node, selector)]
    if not ready:
        return Availability("NoReadyNode", f"no node has the labels {as_text(selector)}")
    obstacles = {node.metadata.name: obstacle(node, wanted, tolerations) for node in ready}
    fit = tuple(node for node, problem in obstacles.items() if problem is None)
    if not fit:
        why = "; ".join(f"{node} {problem}" for node, problem in obstacles.items())
        return Availability("NoSchedulableNode", f"where gVisor is proven, no pod can go: {why}")
    return Availability("Available", f"{len(fit)} of {len(ready)} proven nodes take the pod", fit)


def may_fall_back(policy: Policy, namespace_labels: Mapping[str, str]) -> bool:
    """Whether a pod may run without gVisor: never in a namespace that requires gVisor, whatever the policy."""
    return policy is Policy.PREFER and namespace_labels.get(NAMESPACE_LABEL) != "true"


def obstacle(
    node: client.V1Node, selector: Mapping[str, str], tolerations: Sequence[client.V1Toleration]
) -> str | None:
    """Why a node takes no such pod now; None where it does."""
    conditions = {one.type: one.status for one in (node.status.conditions or [])}
    if conditions.get("Ready") != "True":
        return "is not Ready"
    if not has_labels(node, selector):
        return f"lacks one of the labels {as_text(selector)}"
    taints = list(node.spec.taints or [])
    if node.spec.unschedulable:
        taints.append(client.V1Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule"))
    for taint in taints:
        if taint.effect == "PreferNoSchedule" or any(tolerates(one, taint) for one in tolerations):
            continue
        return f"has the taint {taint.key}={taint.value or ''}:{taint.effect}"
    return None


def tolerates(toleration: client.V1Toleration, taint: client.V1Taint) -> bool:
    """The scheduler's rule: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.operator == "Exists":
        return not toleration.key or toleration.key == taint.key
    if (toleration.operator or "Equal") != "Equal":
        return False  # Gt and Lt: rather refuse than guess
    return toleration.key == taint.key and (toleration.value or "") == (taint.value or "")


class Dispatcher:
    """Creates pods under a policy. A fallback has the name of the pod it stands in for, so the API server
    itself refuses the second while the first is there. rbac.yaml grants what this needs."""

    def __init__(self, api: client.ApiClient, settings: Settings | None = None) -> None:
        self._core = client.CoreV1Api(api)
        self._node = client.NodeV1Api(api)
        self._settings = settings or Settings()

    def ask(self, pod: client.V1Pod) -> Availability:
        """Asks the API server whether this pod could run in gVisor now."""
        runtime_class = self._read_runtime_class()
        nodes: list[client.V1Node] = []
        if runtime_class:
            selector = as_text(node_selector_of(runtime_class))
            nodes = self._core.list_node(label_selector=selector, _request_timeout=REQUEST_TIMEOUT).items
        return availability(runtime_class, nodes, pod.spec, self._settings)

    def dispatch(self, pod: client.V1Pod, policy: Policy) -> Started:
        """Creates the pod and returns once it has started. The pod needs a name and a namespace.

        Raises GVisorUnavailableError (no pod is left), PodNotGoneError (one is, marked for deletion), ValueError
        for a pod that chooses its own node or runtime, and ApiException for what the API server refuses, such as
        a name that is taken."""
        meta = pod.metadata
        if not (meta.name and meta.namespace):
            raise ValueError("the pod needs metadata.name and metadata.namespace")
        if pod.spec.node_name:
            raise ValueError("the pod sets spec.nodeName: that goes past the scheduler, and so past the proof")
        if pod.spec.runtime_class_name:
            raise ValueError("the pod sets spec.runtimeClassName: leave that to the policy")
        answer = self.ask(pod)
        if answer.available:
            result = self._try_in_gvisor(pod)
            if isinstance(result, Started):
                return result
            answer = result
        if policy is Policy.PREFER:
            namespace = self._core.read_namespace(meta.namespace, _request_timeout=REQUEST_TIMEOUT)
            if may_fall_back(policy, namespace.metadata.labels or {}):
                return self._fall_back(pod, answer)
        raise GVisorUnavailableError(answer.reason, answer.message)

    def _try_in_gvisor(self, pod: client.V1Pod) -> Started | Availability:
        """Starts the pod in gVisor; or, with no pod left, gives why that was not to be had after all."""
        sandboxed = copy_with(pod, "gvisor", {})
        sandboxed.spec.runtime_class_name = self._settings.runtime_class
        try:
            created = self._create(sandboxed)
        except ApiException as error:
            if error.status != 403:
                raise
            answer = self.ask(pod)
            if answer.reason != "RuntimeClassMissing":
                raise  # a policy or a quota; else the RuntimeClass went since it was asked for
            return answer
        outcome = self._start_or_remove(created)
        if isinstance(outcome, client.V1Pod):
            return report(outcome, in_gvisor=True, reason="Available", message="runs under the RuntimeClass")
        return outcome

    def _fall_back(self, pod: client.V1Pod, answer: Availability) -> Started:
        notes = {REASON_ANNOTATION: answer.reason, MESSAGE_ANNOTATION: answer.message}
        created = self._create(copy_with(pod, "fallback", notes))
        name = f"{created.metadata.namespace}/{created.metadata.name}"
        log.warning("pod %s runs WITHOUT gVisor: %s: %s", name, answer.reason, answer.message)
        self._tell(created, f"runs without gVisor: {answer.reason}: {answer.message}")
        outcome = self._start_or_remove(created)
        if isinstance(outcome, client.V1Pod):
            return report(outcome, in_gvisor=False, reason=answer.reason, message=answer.message)
        raise GVisorUnavailableError(answer.reason, f"{answer.message}; nor did the fallback start: {outcome.message}")

    def _create(self, pod: client.V1Pod) -> client.V1Pod:
        return self._core.create_namespaced_pod(pod.metadata.namespace, pod, _request_timeout=REQUEST_TIMEOUT)

    def _start_or_remove(self, created: client.V1Pod) -> client.V1Pod | Availability:
        """The pod once it has started; else, once it is surely gone, why it did not."""
        seen = self._watch(created, self._settings.start_deadline, lambda pod: pod is None or is_settled(pod))
        if seen and has_started(seen):
            return seen
        if seen is None:
            raise GVisorUnavailableError("PodRemoved", "somebody removed the pod before it started")
        if is_settled(seen):
            why = Availability("PodRejected", f"{seen.status.reason}: {seen.status.message}")
        else:
            within = f"the pod did not start within {self._settings.start_deadline:g} s"
            why = Availability("StartDeadlineExceeded", f"{within}: {self._newest_warning(created)}")
        return self._remove(created) or why

    def _remove(self, created: client.V1Pod) -> client.V1Pod | None:
        """Removes a pod that has not started and waits until it is surely gone: None. One that starts at the
        last moment is given back unharmed: the deletion holds only for the state that was seen."""
        meta = created.metadata
        deadline = time.monotonic() + self._settings.remove_deadline
        while time.monotonic() < deadline:
            seen = self._read(created)
            if seen is None or has_started(seen):
                return seen
            if not seen.metadata.deletion_timestamp and not self._delete(seen):
                continue
            if self._watch(created, deadline - time.monotonic(), lambda pod: pod is None) is None:
                return None
        raise PodNotGoneError(
            f"pod {meta.namespace}/{meta.name} did not start and is marked for deletion, but was not seen to go "
            f"within {self._settings.remove_deadline:g} s (is its node lost?). It may still run, so nothing was "
            "started in its place"
        )

    def _delete(self, seen: client.V1Pod) -> bool:
        """Deletes the pod if it is still in the state that was seen; else False."""
        meta = seen.metadata
        same = client.V1Preconditions(uid=meta.uid, resource_version=meta.resource_version)
        try:
            self._core.delete_namespaced_pod(
                meta.name,
                meta.namespace,
                body=client.V1DeleteOptions(preconditions=same),
                _request_timeout=REQUEST_TIMEOUT,
            )
        except ApiException as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    def _watch(
        self, created: client.V1Pod, seconds: float, enough: Callable[[client.V1Pod | None], bool]
    ) -> client.V1Pod | None:
        """Follows the pod until `enough` or the deadline; gives what was seen last, None for a pod that is gone."""
        deadline = time.monotonic() + seconds
        seen = self._read(created)
        while not enough(seen) and (left := deadline - time.monotonic()) > 0:
            stream = watch.Watch()
            try:
                for event in stream.stream(
                    self._core.list_namespaced_pod,
                    created.metadata.namespace,
                    field_selector=f"metadata.name={created.metadata.name}",
                    resource_version=seen.metadata.resource_version,
                    timeout_seconds=max(1, round(left)),
                    _request_timeout=(REQUEST_TIMEOUT[0], left),
                ):
                    if enough(None if event["type"] == "DELETED" else event["object"]):
                        break
            except Exception as error:  # a watch may end in any way: what is read next counts
                log.debug("the watch of pod %s ended: %s", created.metadata.name, error)
                time.sleep(0.1)
            finally:
                stream.stop()
            seen = self._read(created)
        return seen

    def _read(self, created: client.V1Pod) -> client.V1Pod | None:
        """The very pod that was created; None when it is gone, be there another of its name or not."""
        meta = created.metadata
        try:
            seen = self._core.read_namespaced_pod(meta.name, meta.namespace, _request_timeout=REQUEST_TIMEOUT)
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return seen if seen.metadata.uid == meta.uid else None

    def _read_runtime_class(self) -> client.V1RuntimeClass | None:
        try:
            return self._node.read_runtime_class(self._settings.runtime_class, _request_timeout=REQUEST_TIMEOUT)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _newest_warning(self, pod: client.V1Pod) -> str:
        """What the cluster last said about a pod, for people."""
        mine = f"involvedObject.uid={pod.metadata.uid},type=Warning"
        try:
            events = self._core.list_namespaced_event(
                pod.metadata.namespace, field_selector=mine, _request_timeout=REQUEST_TIMEOUT
            ).items
        except ApiException as error:
            return f"its Events cannot be read ({error.status} {error.reason})"
        newest = max(events, key=last_seen, default=None)
        return f"{newest.reason}: {newest.message}" if newest else "no Event says why"

    def _tell(self, pod: client.V1Pod, message: str) -> None:
        """An Event on the pod. That it cannot be written stops nobody: the pod says it too."""
        meta, now = pod.metadata, datetime.now(UTC)
        event = client.CoreV1Event(
            metadata=client.V1ObjectMeta(generate_name=f"{meta.name}-", namespace=meta.namespace),
            involved_object=client.V1ObjectReference(
                api_version="v1", kind="Pod", name=meta.name, namespace=meta.namespace, uid=meta.uid
            ),
            type="Warning",
            reason="GVisorFallback",
            message=message[:1024],
            source=client.V1EventSource(component="gvisor-dispatch"),
            first_timestamp=now,
            last_timestamp=now,
            count=1,
        )
        try:
            self._core.create_namespaced_event(meta.namespace, event, _request_timeout=REQUEST_TIMEOUT)
        except ApiException as error:
            log.warning("cannot write an Event on pod %s: %s %s", meta.name, error.status, error.reason)


def node_selector_of(runtime_class: client.V1RuntimeClass) -> Mapping[str, str]:
    """The node labels that a RuntimeClass asks for."""
    scheduling = runtime_class.scheduling
    return (scheduling.node_selector if scheduling else None) or {}


def has_labels(node: client.V1Node, selector: Mapping[str, str]) -> bool:
    """Whether a node has every label of a selector."""
    labels = node.metadata.labels or {}
    return all(labels.get(key) == value for key, value in selector.items())


def as_text(selector: Mapping[str, str]) -> str:
    """A selector as the API and people write it: a=b,c=d."""
    return ",".join(f"{key}={value}" for key, value in selector.items())


def has_started(pod: client.V1Pod) -> bool:
    """Whether a container of the pod runs or ran, and nobody is removing the pod."""
    if pod.metadata.deletion_timestamp:
        return False
    return pod.status.phase in ("Running", "Succeeded") or (
        pod.status.phase == "Failed" and any(one.state.terminated for one in (pod.status.container_statuses or []))
    )


def is_settled(pod: client.V1Pod) -> bool:
    """Whether the pod has started or never will: a kubelet rejects a pod, phase Failed and no container,
    whose node lost the label on the way."""
    return has_started(pod) or pod.status.phase == "Failed"


def copy_with(pod: client.V1Pod, dispatched: str, annotations: Mapping[str, str]) -> client.V1Pod:
    """A copy of the pod with the dispatch label, and annotations added."""
    made = copy.deepcopy(pod)
    made.metadata.labels = {**(made.metadata.labels or {}), DISPATCH_LABEL: dispatched}
    made.metadata.annotations = {**(made.metadata.annotations or {}), **annotations}
    return made


def report(pod: client.V1Pod, *, in_gvisor: bool, reason: str, message: str) -> Started:
    """What a caller learns of a pod that started."""
    meta = pod.metadata
    return Started(meta.namespace, meta.name, pod.spec.node_name or "", in_gvisor, reason, message)


def last_seen(event: client.CoreV1Event) -> datetime:
    """When an Event was last seen; its two APIs fill different fields."""
    return event.last_timestamp or event.event_time or event.metadata.creation_timestamp
