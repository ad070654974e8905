"""Starts evaluation pods under a policy, each once, whatever happens to the caller or the API server."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from kubernetes import client

from .api import Api
from .availability import Availability, availability
from .decision import Decision, Started, fallback_event, started
from .errors import (
    CapacityError,
    ConflictError,
    DispatchError,
    GVisorUnavailableError,
    MisconfiguredError,
    RefusedError,
)
from .pods import (
    ID_ANNOTATION,
    MESSAGE_ANNOTATION,
    REASON_ANNOTATION,
    Json,
    Manifest,
    annotation,
    as_json,
    digest,
    is_terminating,
)
from .removal import await_gone
from .settings import Policy, Settings
from .starting import start

log = logging.getLogger("gvisor_dispatch")

NAMESPACE_LABEL = "require-gvisor"
# How many pods one call creates at most, one after the other, when kubelets reject them or their nodes fail.
ATTEMPTS = 3
# Deadlines that are over; another pod would only wait again.
FINAL = ("Unschedulable", "StartDeadlineExceeded")


class Dispatcher:
    """Creates pods under a policy. The API server gives a name to one pod at a time, so a second caller, and a
    second call, adopts the pod of the first. rbac.yaml grants what this needs."""

    def __init__(self, api: client.ApiClient, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._api = Api(api, self._settings.api_deadline)

    def ask(self, pod: Manifest | None = None, enough: int = 1) -> Availability:
        """Whether this pod, or any, could run in gVisor now; names up to `enough` nodes that take it."""
        manifest = as_json(pod) if pod is not None else {}
        return availability(self._api, manifest.get("spec") or {}, self._settings, enough)

    def decide(self, pod: Manifest | None, policy: Policy, namespace: str, enough: int = 1) -> Decision:
        """Where a pod, or the template of a Job, may run now, for a platform that creates its pods itself.
        Raises GVisorUnavailableError, CapacityError or MisconfiguredError where it may not."""
        answer = self.ask(pod, enough)
        if answer.misconfigured:
            raise MisconfiguredError(answer.reason, answer.message)
        inside = answer.available or policy is Policy.WAIT
        if not inside and not answer.gvisor_fails:
            raise CapacityError(answer.reason, answer.message)
        if not inside and not (policy is Policy.PREFER and self._may_fall_back(namespace)):
            raise GVisorUnavailableError(answer.reason, answer.message)
        return Decision(inside, answer.reason, answer.message, policy, self._settings.runtime_class, answer.nodes)

    def record(self, created: Mapping[str, Any] | client.V1Pod | client.V1Job, decision: Decision) -> None:
        """Says a fallback in the log and in an Event on what was created; gVisor is no news."""
        if not decision.in_gvisor:
            self._tell(as_json(created), f"{decision.reason}: {decision.message}")

    def dispatch(self, pod: Manifest, policy: Policy, dispatch_id: str = "") -> Started:
        """Starts the pod, or adopts the one that an earlier call with the same id created, and returns once a
        container of it runs. The id is that of the evaluation; without one, the manifest is its own id.

        Raises a DispatchError, and ValueError for a pod that chooses its own node or runtime."""
        manifest = checked(as_json(pod))
        mine = dispatch_id or digest(manifest)
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        waits_until = time.monotonic() + self._settings.wait_deadline
        failure: DispatchError | None = None
        tries = 0
        while True:
            seen = self._api.read_pod(namespace, name)
            adopted = seen is not None
            if seen is None:
                decision = self.decide(manifest, policy, namespace)
                if failure and may_not_try(decision, tries, failure):
                    raise failure
                tries += 1
                try:
                    seen = self._create(decision, manifest, mine)
                except RefusedError as error:
                    if error.status != 409:
                        raise
                    failure = error  # another call was faster: adopt its pod
                    continue
            check_own(seen, mine, policy, self._settings.runtime_class)
            if adopted and is_terminating(seen):
                await_gone(self._api, seen, self._settings.remove_deadline)
                continue
            until = waits_until if policy is Policy.WAIT else time.monotonic() + self._settings.schedule_deadline
            outcome = self._start(seen, until)
            if isinstance(outcome, DispatchError):
                failure = outcome
            elif outcome:
                return started(outcome, self._settings.runtime_class, adopted=adopted)
            elif self._api.read_pod(namespace, name) is None:
                raise ConflictError("PodRemoved", f"somebody removed pod {namespace}/{name} before it started")

    def _create(self, decision: Decision, manifest: Json, mine: str) -> Json:
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        what, body = f"create pod {namespace}/{name}", decision.applied(manifest, mine)
        try:
            return self._api.ask(what, self._api.core.create_namespaced_pod, namespace, body)
        except RefusedError as error:
            answer = self.ask(manifest) if error.status == 403 else None
            if answer and answer.misconfigured:  # the RuntimeClass went since it was asked for
                raise MisconfiguredError(answer.reason, answer.message) from error
            raise

    def _start(self, pod: Json, until: float) -> Json | DispatchError | None:
        settings = self._settings
        if pod["spec"].get("runtimeClassName") == settings.runtime_class:
            return start(self._api, pod, until, settings)
        self._tell(pod, f"{annotation(pod, REASON_ANNOTATION)}: {annotation(pod, MESSAGE_ANNOTATION)}")
        outcome = start(self._api, pod, time.monotonic() + settings.schedule_deadline, settings)
        if isinstance(outcome, DispatchError):
            raise CapacityError(outcome.reason, f"nor did the fallback start: {outcome.message}")
        return outcome

    def _may_fall_back(self, namespace: str) -> bool:
        """Never in a namespace that requires gVisor, whatever the policy."""
        found = self._api.ask(f"read namespace {namespace}", self._api.core.read_namespace, namespace)
        return (found["metadata"].get("labels") or {}).get(NAMESPACE_LABEL) != "true"

    def _tell(self, subject: Json, decision: str) -> None:
        """A warning in the log and an Event. An Event that cannot be written stops nobody: the pod says it too."""
        meta = subject["metadata"]
        log.warning("%s/%s runs WITHOUT gVisor: %s", meta["namespace"], meta["name"], decision)
        event = fallback_event(subject, decision)
        try:
            self._api.ask("write an Event", self._api.core.create_namespaced_event, meta["namespace"], event)
        except DispatchError as error:
            if not (isinstance(error, RefusedError) and error.status == 409):  # an earlier call wrote it
                log.warning("%s", error.message)


def may_not_try(decision: Decision, tries: int, failure: DispatchError) -> bool:
    """Whether the last failure stands. A fallback has a try of its own, after those in gVisor."""
    return tries > ATTEMPTS or (decision.in_gvisor and (tries == ATTEMPTS or failure.reason in FINAL))


def checked(manifest: Json) -> Json:
    """The manifest, if the policy can be kept with it. Raises ValueError."""
    meta, spec = manifest.get("metadata") or {}, manifest.get("spec") or {}
    if not (meta.get("name") and meta.get("namespace")):
        raise ValueError("the pod needs metadata.name and metadata.namespace")
    if spec.get("nodeName"):
        raise ValueError("the pod sets spec.nodeName: that goes past the scheduler, and so past the proof")
    if spec.get("runtimeClassName"):
        raise ValueError("the pod sets spec.runtimeClassName: leave that to the policy")
    return manifest


def check_own(pod: Json, mine: str, policy: Policy, runtime_class: str) -> None:
    """Raises ConflictError for a pod that this call must not adopt."""
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    if annotation(pod, ID_ANNOTATION) != mine:
        raise ConflictError("NameTaken", f"pod {name} exists and is not of this evaluation")
    if policy is not Policy.PREFER and pod["spec"].get("runtimeClassName") != runtime_class:
        sentence = f"an earlier call runs pod {name} without gVisor, which the policy {policy.value} forbids"
        raise ConflictError("RunsOutside", sentence)
