"""Pods and Jobs that `create` makes: each once, and adopted by the same call again."""

from __future__ import annotations

from case import ApiCase
from cluster_objects import BAD, pod
from fake_api import FakeApi
from gvisor_dispatch import ConflictError, PodError, Policy, PolicyError, RetryLaterError
from kubernetes import client


class CreateTest(ApiCase):
    """A pod or a Job whose creator does not wait for it."""

    def job(self, policy: Policy, dispatch_id: str = "") -> str:
        template = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
        meta = {"name": "eval-1", "namespace": "evals"}
        made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}
        created = self.dispatcher().create(made, policy, dispatch_id)
        return str(created["spec"]["template"]["metadata"]["labels"]["gvisor-ready.dev/dispatch"])

    def test_a_template_requests_gvisor(self) -> None:
        self.assertEqual(self.job(Policy.PREFER), "gvisor")
        self.assertEqual(self.api.jobs["eval-1"]["spec"]["template"]["spec"]["runtimeClassName"], "gvisor")

    def test_a_repeated_call_adopts_what_is_its_own(self) -> None:
        def one(dispatch_id: str = "", policy: Policy = Policy.PREFER) -> str:
            return str(
                self.dispatcher().create(pod(), policy, dispatch_id)["metadata"]["labels"]["gvisor-ready.dev/dispatch"]
            )

        for create in (one, lambda given="", policy=Policy.PREFER: self.job(policy, given)):
            with self.subTest(create), FakeApi() as self.api:
                self.assertEqual(create("eval 17"), "gvisor")
                self.api.nodes, self.api.runtime_class = [BAD], None
                self.assertEqual(create("eval 17"), "gvisor")
                for other in ("", "eval 18"):
                    with self.assertRaisesRegex(ConflictError, "NameTaken: (pod|job) evals/eval-1 exists and is not"):
                        create(other)
                self.assertEqual(len(self.api.requests("POST")), 1)

    def test_a_fallback_is_adopted_only_where_the_policy_allows_it(self) -> None:
        self.api.nodes = [BAD]
        with self.assertLogs("gvisor_dispatch", "WARNING"):
            first = [self.dispatcher().create(pod(), Policy.PREFER), self.job(Policy.PREFER)][0]
            self.api.events.clear()  # as if the first call had been cut off
            again = self.dispatcher().create(pod(), Policy.PREFER)
        self.assertEqual(again["metadata"]["uid"], first["metadata"]["uid"])
        self.assertEqual([one["involvedObject"]["uid"] for one in self.api.events], [first["metadata"]["uid"]])
        for again in (lambda: self.dispatcher().create(pod(), Policy.REQUIRE), lambda: self.job(Policy.REQUIRE)):
            with self.assertRaisesRegex(PolicyError, "RunsOutside"):
                again()

    def test_a_lost_response_leaves_one_pod(self) -> None:
        for meta in ({"name": "eval-1"}, {"generateName": "eval-"}):
            for status in (0, 500):
                with self.subTest(meta, status=status), FakeApi() as self.api:
                    self.api.fail("POST", "/pods", status, late=True)
                    made = {**pod(), "metadata": {"namespace": "evals", **meta}}
                    created = self.dispatcher().create(made, Policy.PREFER)
                    self.assertEqual(list(self.api.pods), [created["metadata"]["name"]])

    def test_a_generated_name_is_of_the_id_or_new(self) -> None:
        made = {**pod(), "metadata": {"namespace": "evals", "generateName": "e" * 60}}
        names = [
            self.dispatcher().create(made, Policy.PREFER, given)["metadata"]["name"] for given in ("a", "a", "", "")
        ]
        self.assertEqual((names[0] == names[1], len(set(names)), {len(name) for name in names}), (True, 3, {63}))

    def test_what_has_no_name_or_no_template_is_refused(self) -> None:
        meta = {"name": "a", "namespace": "evals"}
        for wrong in (
            {**pod(), "metadata": {"namespace": "evals"}},
            {"metadata": meta},
            {"kind": "Job", "metadata": meta, "spec": {}},
            {"kind": "Job", "metadata": meta},
        ):
            with self.subTest(wrong), self.assertRaises(PodError):
                self.dispatcher().create(wrong, Policy.PREFER)
        self.assertEqual(self.api.received, [])

    def test_what_is_being_deleted_is_not_adopted(self) -> None:
        self.dispatcher().create(pod(), Policy.PREFER)
        self.api.pods["eval-1"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        with self.assertRaisesRegex(RetryLaterError, "PodNotGone: pod evals/eval-1 is being deleted"):
            self.dispatcher().create(pod(), Policy.PREFER)

    def test_a_fallback_is_in_the_template_and_in_an_event_of_the_job(self) -> None:
        self.api.nodes = [BAD]
        with self.assertLogs("gvisor_dispatch", "WARNING"):
            self.assertEqual(self.job(Policy.PREFER), "fallback")
        template = self.api.jobs["eval-1"]["spec"]["template"]
        self.assertEqual(template["metadata"]["annotations"]["gvisor-ready.dev/dispatch-reason"], "GVisorFails")
        self.assertNotIn("runtimeClassName", template["spec"])
        self.assertEqual([one["involvedObject"]["kind"] for one in self.api.events], ["Job"])

    def test_a_job_is_refused_or_waits_under_the_other_policies(self) -> None:
        self.api.nodes = [BAD]
        with self.assertRaises(PolicyError):
            self.job(Policy.REQUIRE)
        self.assertEqual(self.api.jobs, {})
        self.assertEqual(self.job(Policy.WAIT), "gvisor")

    def test_a_pod_as_json_and_as_a_model(self) -> None:
        spec = client.V1PodSpec(containers=[client.V1Container(name="c", image="i")])
        model = client.V1Pod(metadata=client.V1ObjectMeta(name="eval-2", namespace="evals"), spec=spec)
        for one in (pod("eval-1"), model):
            created = self.dispatcher().create(one, Policy.PREFER)
            self.assertEqual(created["spec"]["runtimeClassName"], "gvisor")

    def test_fields_that_the_client_does_not_know_stay(self) -> None:
        self.assertEqual(
            self.dispatcher().create(pod(ofTomorrow={"a": 1}), Policy.PREFER)["spec"]["ofTomorrow"], {"a": 1}
        )
