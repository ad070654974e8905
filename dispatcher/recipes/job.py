"""A Job: its controller creates the pods, so the decision is made once, for the template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gvisor_dispatch import Decision, Dispatcher, Policy
from kubernetes import client
from kubernetes.client.exceptions import ApiException


def submit(api: client.ApiClient, job: Mapping[str, Any], policy: Policy) -> Decision | None:
    """Creates the Job with the policy's decision in its pod template. Returns None if the Job already exists, since
    an earlier call decided. Pods of a Job in gVisor wait for a proven node, and never move to the host's kernel."""
    dispatcher, batch = Dispatcher(api), client.BatchV1Api(api)
    namespace, template = job["metadata"]["namespace"], job["spec"]["template"]
    decision = dispatcher.decide(template, policy, namespace)
    decided = {**job, "spec": {**job["spec"], "template": decision.applied(template)}}
    try:
        created = batch.create_namespaced_job(namespace, decided)
    except ApiException as error:
        if error.status != 409:
            raise
        return None
    dispatcher.record(created, decision)
    return decision
