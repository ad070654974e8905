"""The decision where an evaluation runs, and its record in the pod and in an Event."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .errors import PodError, RetryLaterError
from .pods import (
    ID_ANNOTATION,
    MESSAGE_ANNOTATION,
    POLICY_ANNOTATION,
    REASON_ANNOTATION,
    Json,
    Manifest,
    as_json,
    checked,
    marked,
    template_of,
    truncated,
    why_delayed,
)
from .settings import Policy

# Each decision as a line of JSON, at level INFO.
log = logging.getLogger("gvisor_dispatch.decisions")

# How long a decision to leave gVisor holds.
FALLBACK_SECONDS = 60
# How long a Job outside gVisor may last, since its pods start later than the decision: if it does not say, and at most.
JOB_SECONDS, MAX_JOB_SECONDS = 3600, 86_400


@dataclass(frozen=True)
class Decision:
    """In gVisor, or without and why. `applied` writes the decision into a pod, a pod template or a Job."""

    in_gvisor: bool
    reason: str
    message: str
    policy: Policy
    runtime_class: str
    nodes: tuple[str, ...] = ()
    # By the monotonic clock.
    made_at: float = field(default_factory=time.monotonic, repr=False, compare=False)

    def check_age(self) -> None:
        """Raises RetryLaterError once a decision to leave gVisor is old: nodes, and the namespace's consent, may have
        changed."""
        if not self.in_gvisor and time.monotonic() - self.made_at > FALLBACK_SECONDS:
            raise RetryLaterError(
                "DecisionExpired", f"this decision to leave gVisor is older than {FALLBACK_SECONDS} s: decide again"
            )

    def applied(self, manifest: Manifest, dispatch_id: str = "") -> Json:
        """A copy of a pod, a pod template or a Job, as JSON, with this decision. Raises PodError for a pod that
        chooses its own node or another runtime, or would leave gVisor and may start much later, and RetryLaterError
        once a decision to leave gVisor is old. A Job outside gVisor ends after an hour, or as it says, after a day at
        most."""
        made = as_json(manifest)
        self.check_age()
        if not self.in_gvisor and (why := why_delayed(made)):
            raise PodError("PodRefused", f"a fallback is a decision of now, and {why}")
        if made.get("kind") != "Job":
            return self._in_template(made, dispatch_id)
        meta, spec = dict(made.get("metadata") or {}), dict(made.get("spec") or {})
        spec["template"] = self._in_template(template_of(made), dispatch_id)
        if dispatch_id:
            meta["annotations"] = {**(meta.get("annotations") or {}), ID_ANNOTATION: dispatch_id}
        if not self.in_gvisor:
            spec["activeDeadlineSeconds"] = min(spec.get("activeDeadlineSeconds") or JOB_SECONDS, MAX_JOB_SECONDS)
        return {**made, "metadata": meta, "spec": spec}

    def _in_template(self, pod: Json, dispatch_id: str) -> Json:
        notes = {
            POLICY_ANNOTATION: self.policy.value,
            REASON_ANNOTATION: self.reason,
            MESSAGE_ANNOTATION: truncated(self.message),
            **({ID_ANNOTATION: dispatch_id} if dispatch_id else {}),
        }
        if not self.in_gvisor:
            return marked(checked(pod), "fallback", notes)
        made = marked(checked(pod, self.runtime_class), "gvisor", notes)
        made["spec"]["runtimeClassName"] = self.runtime_class
        return made


@dataclass(frozen=True)
class Started:
    """A pod that runs or has already ended. `in_gvisor` is what its node and its agent say so far, None where they
    cannot; `reason` says why it is not True. Evidence is what `explain` says."""

    namespace: str
    name: str
    node: str
    in_gvisor: bool | None
    reason: str
    message: str
    adopted: bool


def log_decision(what: str, pod: Mapping[str, Any] | None, **fields: str) -> None:
    """Logs a decision: "gvisor", "host", "later" or "refused"."""
    meta = (pod or {}).get("metadata") or {}
    name = meta.get("name") or meta.get("generateName") or ""
    log.info(json.dumps({"time": datetime.now(UTC).isoformat(), "decision": what, "name": name, **fields}))


def fallback_event(subject: Mapping[str, Any], decision: str) -> Json:
    """The Event on a pod, or on a Job, that runs without gVisor. Its name is deterministic, so a repeated call
    writes no second one."""
    meta, now = subject["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"name": f"{meta['name'][:200]}.fallback-{meta['uid']}", "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": subject.get("apiVersion") or "v1",
            "kind": subject.get("kind") or "Pod",
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
        "type": "Warning",
        "reason": "GVisorFallback",
        "message": f"runs without gVisor: {decision}"[:1024],
        "source": {"component": "gvisor-dispatch"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
