"""Starts evaluation pods under a policy, each once, even if callers crash or the API server is unreachable."""

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
    checked,
    digest,
    is_terminating,
)
from .settings import Policy, Settings
from .starting import await_gone, start

log = logging.getLogger("gvisor_dispatch")

# Labels of a namespace. The second lets "prefer" create pods without gVisor; the first overrides it.
REQUIRE_LABEL, CONSENT_LABEL = "require-gvisor", "allow-host-kernel"
# Maximum number of pods that one call creates, one after the other, when kubelets reject them or nodes fail.
ATTEMPTS = 3
# Missed deadlines: another pod would only wait again.
FINAL = ("Unschedulable", "StartDeadlineExceeded")


class Dispatcher:
    """Creates pods under a policy. The API server allows one pod of a name, so a second caller, or a second
    call, adopts the pod of the first. rbac.yaml has the permissions."""

    def __init__(self, api: client.ApiClient, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._api = Api(api, self._settings.api_deadline)

    def ask(self, pod: Manifest | None = None, enough: int = 1) -> Availability:
        """Whether this pod, or any, could run in gVisor now; names up to `enough` nodes that take it. Raises
        ValueError for a pod that chooses its own node or runtime."""
        spec = checked(pod)["spec"] if pod is not None else {}
        return availability(self._api, spec, self._settings, enough)

    def decide(self, pod: Manifest | None, policy: Policy, namespace: str, enough: int = 1) -> Decision:
        """Where a pod, or the template of a Job, may run now, for a platform that creates its pods itself.
        Raises GVisorUnavailableError, CapacityError or MisconfiguredError where it may not."""
        found = self.ask(pod, enough)
        reason, message = found.reason, found.message
        if found.misconfigured:
            raise MisconfiguredError(reason, message)
        if policy is Policy.PREFER and (why := self._why_no_fallback(namespace)):
            policy, message = Policy.REQUIRE, f'"prefer" acts as "require": {why}; {message}'
        inside = found.available or policy is Policy.WAIT
        if not inside and not found.gvisor_fails:
            raise CapacityError(reason, message)
        if not inside and policy is not Policy.PREFER:
            raise GVisorUnavailableError(reason, message)
        return Decision(inside, reason, message, policy, self._settings.runtime_class, found.nodes)

    def record(self, created: Mapping[str, Any] | client.V1Pod | client.V1Job, decision: Decision) -> None:
        """Records a fallback in the log and in an Event on the created object; does nothing for a pod in gVisor."""
        if not decision.in_gvisor:
            self._report_fallback(as_json(created), f"{decision.reason}: {decision.message}")

    def dispatch(self, pod: Manifest, policy: Policy, dispatch_id: str = "") -> Started:
        """Starts the pod, or adopts the one that an earlier call with the same id created, and returns once a
        container of it runs. The id identifies the evaluation; without one, a digest of the manifest does.

        Raises a DispatchError, and ValueError for a pod that chooses its own node or runtime."""
        manifest = checked(pod)
        mine = dispatch_id or digest(manifest)
        namespace, name = place_of(manifest)
        waits_until = time.monotonic() + self._settings.wait_deadline
        failure: DispatchError | None = None
        tries = 0
        while True:
            seen = self._api.read_pod(namespace, name)
            adopted = seen is not None
            if seen is None:
                decision = self.decide(manifest, policy, namespace)
                if failure and is_final(decision, tries, failure):
                    raise failure
                tries += 1
                try:
                    seen = self._create(decision, manifest, mine)
                except RefusedError as error:
                    if error.status != 409:
                        raise
                    failure = error  # another call was faster: adopt its pod
                    continue
            self._check_own(seen, mine, policy)
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
                raise ConflictError("PodRemoved", f"pod {namespace}/{name} was removed before it started")

    def _create(self, decision: Decision, manifest: Json, mine: str) -> Json:
        namespace, name = place_of(manifest)
        what, body = f"create pod {namespace}/{name}", decision.applied(manifest, mine)
        try:
            return self._api.request(what, self._api.core.create_namespaced_pod, namespace, body)
        except RefusedError as error:
            found = self.ask(manifest) if error.status == 403 else None
            if found and found.misconfigured:  # the RuntimeClass was deleted meanwhile
                raise MisconfiguredError(found.reason, found.message) from error
            raise

    def _start(self, pod: Json, until: float) -> Json | DispatchError | None:
        settings = self._settings
        if pod["spec"].get("runtimeClassName") == settings.runtime_class:
            return start(self._api, pod, until, settings)
        self._report_fallback(pod, f"{annotation(pod, REASON_ANNOTATION)}: {annotation(pod, MESSAGE_ANNOTATION)}")
        outcome = start(self._api, pod, time.monotonic() + settings.schedule_deadline, settings)
        if isinstance(outcome, DispatchError):
            raise CapacityError(outcome.reason, f"nor did the fallback start: {outcome.message}")
        return outcome

    def _why_no_fallback(self, namespace: str) -> str:
        """Why "prefer" may not leave gVisor in this namespace; empty if it may. A namespace that cannot be read
        does not consent."""
        try:
            found = self._api.request(f"read namespace {namespace}", self._api.core.read_namespace, namespace)
        except RefusedError as error:
            return error.message
        labels = found["metadata"].get("labels") or {}
        if labels.get(REQUIRE_LABEL) == "true":
            return f'namespace {namespace} has the label {REQUIRE_LABEL}: "true"'
        consents = labels.get(CONSENT_LABEL) == "true"
        return "" if consents else f'namespace {namespace} does not have the label {CONSENT_LABEL}: "true"'

    def _check_own(self, pod: Json, mine: str, policy: Policy) -> None:
        """Raises ConflictError for a pod that this call must not adopt."""
        namespace, name = place_of(pod)
        if annotation(pod, ID_ANNOTATION) != mine:
            raise ConflictError("NameTaken", f"pod {namespace}/{name} exists and is not of this evaluation")
        if pod["spec"].get("runtimeClassName") == self._settings.runtime_class:
            return
        why = self._why_no_fallback(namespace) if policy is Policy.PREFER else f"the policy {policy.value} forbids that"
        if why:
            raise ConflictError("RunsOutside", f"an earlier call runs pod {namespace}/{name} without gVisor; {why}")

    def _report_fallback(self, subject: Json, decision: str) -> None:
        """Writes a warning to the log and an Event. A failed Event is only logged, since the pod has the record too."""
        meta = subject["metadata"]
        log.warning("%s/%s runs WITHOUT gVisor: %s", meta["namespace"], meta["name"], decision)
        event = fallback_event(subject, decision)
        try:
            self._api.request("write an Event", self._api.core.create_namespaced_event, meta["namespace"], event)
        except DispatchError as error:
            if not (isinstance(error, RefusedError) and error.status == 409):  # an earlier call wrote it
                log.warning("%s", error.message)


def is_final(decision: Decision, tries: int, failure: DispatchError) -> bool:
    """Whether the last failure is final. A fallback gets an attempt of its own, after those in gVisor."""
    return tries > ATTEMPTS or (decision.in_gvisor and (tries == ATTEMPTS or failure.reason in FINAL))


def place_of(pod: Json) -> tuple[str, str]:
    """The namespace and the name of a pod. Raises ValueError if one is missing."""
    meta = pod.get("metadata") or {}
    if not (meta.get("name") and meta.get("namespace")):
        raise ValueError("the pod needs metadata.name and metadata.namespace")
    return meta["namespace"], meta["name"]
