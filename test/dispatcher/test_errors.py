"""Errors by what a caller can do: retry later, or change the pod, the cluster or the policy."""

from __future__ import annotations

import time
import unittest
from collections.abc import Iterator
from functools import partial

from case import SHORT, ApiCase
from cluster_objects import RUNTIME_CLASS, Json, cannot_pull, node, pod, pulls, rejects, runs, waits_for
from fake_api import FakeApi
from gvisor_dispatch import ClusterError, DispatchError, PodError, Policy
from gvisor_dispatch.creating import refusal
from gvisor_dispatch.errors import RefusedError

FORBIDDEN = 'cannot create pod evals/a: 403 pods "a" is forbidden: '
CONFIG = "CreateContainerConfigError"
NOT_FOUND = 'Back-off pulling image "x": ErrImagePull: rpc error: code = NotFound desc = failed to pull: x: not found'
DENIED = "rpc error: code = Unknown desc = failed to pull and unpack image: failed to authorize: 401 Unauthorized"
QUOTA = "exceeded quota: q, requested: cpu=500m,pods=1, used: cpu=1,pods=1, limited: cpu={},pods=1"


class RefusalTest(unittest.TestCase):
    """The texts are those of Kubernetes; test/api/dispatcher.test.ts has a real API server say some of them."""

    def test_each_refusal_of_a_pod(self) -> None:
        cases = [
            (403, f"{FORBIDDEN}{QUOTA.format('1')}", "RetryLaterError", "QuotaExceeded"),
            (403, f"{FORBIDDEN}{QUOTA.format('400m')}", "PodError", "PodRefused"),
            (403, f"{FORBIDDEN}exceeded quota: q, in another form", "RetryLaterError", "QuotaExceeded"),
            (403, f"{FORBIDDEN}failed quota: q: must specify cpu for: c", "PodError", "PodRefused"),
            (403, f"{FORBIDDEN}status unknown for quota: q, resources: pods", "RetryLaterError", "QuotaExceeded"),
            (403, f'{FORBIDDEN}error looking up service account e/default: serviceaccount "default" not found',
             "RetryLaterError", "NamespaceNew"),
            (403, f'{FORBIDDEN}error looking up service account e/x: serviceaccount "x" not found',
             "PodError", "PodRefused"),
            (403, f'{FORBIDDEN}violates PodSecurity "restricted:latest": a reason', "PodError", "PodRefused"),
            (422, "cannot create pod e/a: 422 ValidatingAdmissionPolicy 'x' denied it", "PodError", "PodRefused"),
            (400, "cannot create pod e/a: 400 Pod in version v1 cannot be handled", "PodError", "PodRefused"),
            (403, 'cannot create pod e/a: 403 pods is forbidden: User "u" cannot create resource "pods"',
             "RefusedError", "ApiRefused"),
            (403, f"{FORBIDDEN}unable to create new content in namespace e because it is being terminated",
             "RefusedError", "ApiRefused"),
            (404, 'cannot create pod e/a: 404 namespaces "e" not found', "RefusedError", "ApiRefused"),
            (401, "cannot create pod e/a: 401 Unauthorized", "RefusedError", "ApiRefused"),
        ]  # fmt: skip
        for status, message, kind, reason in cases:
            with self.subTest(message):
                found = refusal(RefusedError("ApiRefused", message, status))
                self.assertEqual((type(found).__name__, found.reason), (kind, reason))


class PodErrorTest(ApiCase):
    def test_each_fault_of_a_pod_is_reported_before_the_deadline_and_leaves_no_pod(self) -> None:
        def event(message: str) -> Json:
            return {"metadata": {"name": "e"}, "reason": "FailedMount", "message": message}

        def mounts(api: FakeApi, name: str) -> None:
            api.events.append(event('MountVolume.SetUp failed for volume "v" : configmap "settings" not found'))
            pulls(api, name)

        for kubelet, text in (
            (cannot_pull, "InvalidImageName: couldn't parse"),
            (partial(waits_for, reason="ErrImageNeverPull"), "ErrImageNeverPull"),
            (partial(waits_for, reason=CONFIG, message='secret "s" not found'), f'{CONFIG}: secret "s" not found'),
            (partial(waits_for, reason="ImagePullBackOff", message=NOT_FOUND), "ImagePullBackOff: .* not found"),
            (partial(waits_for, reason="ErrImagePull", message=DENIED), "ErrImagePull: .* 401 Unauthorized"),
            (mounts, 'FailedMount: .* configmap "settings" not found'),
            (partial(rejects, reason="SysctlForbidden", message="no"), "SysctlForbidden"),
        ):
            with self.subTest(text), FakeApi() as self.api:
                self.api.kubelet = kubelet
                with self.assertRaisesRegex(PodError, f"PodCannotStart: {text}"):
                    self.call(Policy.WAIT, start_deadline=3600)
                self.assertEqual((self.api.pods, len(self.api.created)), ({}, 1))

    def test_a_claim_that_does_not_exist_is_a_fault_of_the_pod_at_the_deadline(self) -> None:
        def unbound(api: FakeApi, name: str) -> None:
            message = 'persistentvolumeclaim "data" not found'
            api.update(name, {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]})

        self.api.kubelet = unbound
        self.assertEqual(self.outcome(Policy.REQUIRE, **SHORT), ("PodError", "PodCannotStart"))

    def test_a_registry_that_is_away_is_no_fault_of_the_pod(self) -> None:
        for message in ("dial tcp: connection refused", "429 Too Many Requests: toomanyrequests: unauthenticated"):
            with self.subTest(message), FakeApi() as self.api:
                self.api.kubelet = partial(waits_for, reason="ImagePullBackOff", message=message)
                found = self.outcome(Policy.REQUIRE, start_deadline=2)
                self.assertEqual(found, ("RetryLaterError", "StartDeadlineExceeded"))

    def test_a_pull_secret_may_follow_its_pod(self) -> None:
        def pulls_at_last(api: FakeApi, name: str) -> None:
            waits_for(api, name, "ErrImagePull", DENIED)
            while not api.requests(r"/nodes\?fieldSelector"):  # of the first look
                time.sleep(0.01)
            runs(api, name)

        self.api.kubelet = pulls_at_last
        self.assertTrue(self.call(node_interval=2, start_deadline=30).in_gvisor)

    def test_a_configmap_may_follow_its_pod(self) -> None:
        def waits_then_runs(api: FakeApi, name: str) -> None:
            waits_for(api, name, CONFIG)
            time.sleep(0.4)
            runs(api, name)

        self.api.kubelet = waits_then_runs
        self.assertTrue(self.call(node_interval=10, start_deadline=30).in_gvisor)


class DeletedClassTest(ApiCase):
    def test_a_class_that_is_deleted_after_the_decision_is_no_fault_of_the_pod(self) -> None:
        class Deleting(list[Json]):
            def __iter__(this) -> Iterator[Json]:  # noqa: N805
                self.api.runtime_class = None
                return super().__iter__()

        for method in ("dispatch", "create"):
            with self.subTest(method):
                self.api.received.clear()
                self.api.runtime_class = RUNTIME_CLASS
                self.api.nodes = Deleting([node("a")])
                with self.assertRaisesRegex(ClusterError, "RuntimeClassMissing"):
                    getattr(self.dispatcher(), method)(pod(), Policy.REQUIRE)
                self.assertEqual(len(self.api.requests("POST .*/pods")), 1)


class QuotaTest(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.api.quota = 1
        self.api.add_pod("evals", pod("other"))

    def test_wait_waits_for_room(self) -> None:
        def make_room() -> None:
            while len(self.api.requests("POST .*/pods")) < 2:
                time.sleep(0.05)
            self.api.remove("other")

        self.later(0, make_room)
        self.assertEqual(self.outcome(Policy.WAIT, wait_deadline=3600), ("gvisor", "Available"))

    def test_wait_ends_at_its_deadline(self) -> None:
        self.assertEqual(self.outcome(Policy.WAIT, wait_deadline=1), ("RetryLaterError", "QuotaExceeded"))

    def test_the_other_policies_report_it_at_once_and_never_fall_back(self) -> None:
        for policy in (Policy.REQUIRE, Policy.PREFER):
            self.assertEqual(self.outcome(policy), ("RetryLaterError", "QuotaExceeded"))
        self.assertEqual((len(self.api.requests("POST")), self.api.created), (2, []))

    def test_a_pod_larger_than_the_quota_is_not_retried(self) -> None:
        self.api.quota = 0
        with self.assertRaisesRegex(DispatchError, r"PodRefused: .* limited: pods=0 \(more than the quota has\)"):
            self.call(Policy.WAIT)
        self.assertEqual(len(self.api.requests("POST")), 1)
