"""The pure part: what the JSON of pods and nodes says."""

from __future__ import annotations

import unittest
from datetime import UTC, datetime
from typing import Any

from cluster_objects import READY, fresh, node, pod
from gvisor_dispatch import PodError
from gvisor_dispatch.nodes import has_affinity, obstacle, summary, tolerates, verdict_age
from gvisor_dispatch.pods import checked, has_outcome, has_started, marked, place_of, truncated, why_waiting

GPU = {"key": "gpu", "value": "a100", "effect": "NoSchedule"}
PROVEN = {"nodeSelector": {READY: "true"}}
NOT_READY = {"key": "gvisor.node-restriction.kubernetes.io/not-ready", "effect": "NoSchedule"}


class ObstacleTest(unittest.TestCase):
    def test_what_is_in_the_way(self) -> None:
        cases = [
            (node("a"), None),
            (node("a", kubelet="False"), "not Ready"),
            (node("a", kubelet="Unknown"), "not Ready"),
            ({**node("a"), "status": {}}, "not Ready"),
            (node("a", cordoned=True), "taint node.kubernetes.io/unschedulable=:NoSchedule"),
            (node("a", taints=[GPU]), "taint gpu=a100:NoSchedule"),
            (node("a", taints=[{**GPU, "effect": "PreferNoSchedule"}]), None),
            (node("a", taints=[NOT_READY]), None),
            (node("a", "false"), None),
        ]
        for one, expected in cases:
            with self.subTest(expected):
                self.assertEqual(obstacle(one, PROVEN, ignoring=READY), expected)
        self.assertEqual(obstacle(node("a", "false"), PROVEN), f"not all of the labels {READY}=true")
        self.assertEqual(obstacle(node("a", taints=[NOT_READY]), {}), f"taint {NOT_READY['key']}=:NoSchedule")

    def test_a_verdict_without_a_time_is_new(self) -> None:
        now = datetime.now(UTC)
        self.assertAlmostEqual(verdict_age(node("a", minutes=30), now), 1800, delta=60)
        for time in (None, "", "yesterday", "2026-01-01T00:00:00"):
            one = node("a")
            one["status"]["conditions"][1]["lastTransitionTime"] = time
            self.assertEqual((time, verdict_age(one, now)), (time, 0))
        self.assertEqual(verdict_age(fresh("a"), now), 0)

    def test_labels_and_tolerations_of_the_pod(self) -> None:
        self.assertEqual(obstacle(node("a"), {"nodeSelector": {"zone": "x"}}), "not all of the labels zone=x")
        self.assertIsNone(obstacle(node("a", labels={"zone": "x"}), {"nodeSelector": {"zone": "x"}}))
        self.assertIsNone(obstacle(node("a", taints=[GPU]), {"tolerations": [{"key": "gpu", "operator": "Exists"}]}))

    def test_the_schedulers_rule_of_node_affinity(self) -> None:
        def rule(key: str, operator: str, *values: str) -> dict[str, Any]:
            return {"key": key, "operator": operator, "values": list(values)}

        cases: list[tuple[list[dict[str, Any]], bool]] = [
            ([{"matchExpressions": [rule("zone", "In", "x", "y")]}], True),
            ([{"matchExpressions": [rule("zone", "In", "z")]}], False),
            ([{"matchExpressions": [rule("zone", "NotIn", "z")]}], True),
            ([{"matchExpressions": [rule("zone", "NotIn", "x")]}], False),
            ([{"matchExpressions": [rule("none", "NotIn", "x")]}], True),
            ([{"matchExpressions": [rule("zone", "Exists")]}], True),
            ([{"matchExpressions": [rule("none", "Exists")]}], False),
            ([{"matchExpressions": [rule("none", "DoesNotExist")]}], True),
            ([{"matchExpressions": [rule("cpus", "Gt", "7")]}], True),
            ([{"matchExpressions": [rule("cpus", "Gt", "8")]}], False),
            ([{"matchExpressions": [rule("cpus", "Lt", "9")]}], True),
            ([{"matchExpressions": [rule("cpus", "Lt", "8")]}], False),
            ([{"matchExpressions": [rule("zone", "Gt", "7")]}], False),
            ([{"matchExpressions": [rule("none", "Lt", "7")]}], False),
            ([{"matchFields": [rule("metadata.name", "In", "a")]}], True),
            ([{"matchFields": [rule("metadata.name", "In", "b")]}], False),
            ([{"matchExpressions": [rule("zone", "Exists"), rule("cpus", "In", "9")]}], False),
            ([{"matchExpressions": [rule("zone", "In", "z")]}, {"matchExpressions": [rule("zone", "In", "x")]}], True),
            ([{}], False),
        ]
        one = node("a", labels={"zone": "x", "cpus": "8"})
        for terms, expected in cases:
            required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
            with self.subTest(terms):
                self.assertEqual(has_affinity(one, {"nodeAffinity": required}), expected)
        self.assertTrue(has_affinity(one, {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}))
        self.assertTrue(has_affinity(one, {"podAffinity": {}}))

    def test_the_schedulers_rule_of_tolerations(self) -> None:
        cases: list[tuple[dict[str, Any], bool]] = [
            ({"operator": "Exists"}, True),
            ({"key": "gpu", "operator": "Exists"}, True),
            ({"key": "gpu", "value": "a100"}, True),
            ({"key": "gpu", "operator": "Equal", "value": "a100", "effect": "NoSchedule"}, True),
            ({"key": "gpu", "operator": "Equal", "value": "h100"}, False),
            ({"key": "gpu"}, False),
            ({"key": "cpu", "operator": "Exists"}, False),
            ({"operator": "Exists", "effect": "NoExecute"}, False),
            ({"key": "gpu", "operator": "Gt", "value": "1"}, False),
        ]
        for toleration, expected in cases:
            with self.subTest(toleration):
                self.assertIs(tolerates(toleration, GPU), expected)


class SummaryTest(unittest.TestCase):
    def test_it_names_three_of_a_kind_and_counts_all(self) -> None:
        found = {"not Ready": [f"node-{at}" for at in range(5000)], "cordoned": ["last"]}
        self.assertEqual(summary(found), "not Ready: node-0, node-1, node-2 and 4,997 more; cordoned: last")

    def test_many_kinds_stay_short(self) -> None:
        text = summary({f"taint t{at}": [f"node-{at}"] for at in range(5000)})
        self.assertTrue(text.endswith("; other reasons: 4,992 more"))
        self.assertLess(len(text), 400)


class PodTest(unittest.TestCase):
    @staticmethod
    def pod(phase: str, container: str = "", init: str = "", deleted: bool = False) -> dict[str, Any]:
        made = pod()
        made["status"] = {"phase": phase}
        if deleted:
            made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        for key, state in (("containerStatuses", container), ("initContainerStatuses", init)):
            if state:
                made["status"][key] = [{"name": "x", "state": {state: {}}}]
        return made

    def test_what_counts_as_started_and_what_as_settled(self) -> None:
        cases = [
            (self.pod("Pending"), False, False),
            (self.pod("Pending", "waiting"), False, False),
            (self.pod("Pending", "waiting", init="waiting"), False, False),
            (self.pod("Pending", "waiting", init="running"), True, True),
            (self.pod("Pending", "waiting", init="terminated"), True, True),
            (self.pod("Running", "running"), True, True),
            (self.pod("Succeeded", "terminated"), True, True),
            (self.pod("Failed", "terminated"), True, True),
            (self.pod("Failed", "waiting", init="terminated"), True, True),
            (self.pod("Failed"), False, True),  # the kubelet rejected it
            (self.pod("Running", "running", deleted=True), False, False),
        ]
        for one, started, settled in cases:
            with self.subTest(one["status"]):
                self.assertEqual((has_started(one), has_outcome(one)), (started, settled))

    def test_what_a_pod_waits_for(self) -> None:
        backoff = self.pod("Pending")
        waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
        backoff["status"]["containerStatuses"] = [{"state": {"waiting": waiting}}]
        self.assertEqual(why_waiting(backoff), "ImagePullBackOff: no such image")
        self.assertEqual(why_waiting(self.pod("Pending", "waiting")), "")

    def test_marking_changes_a_copy(self) -> None:
        original = {"metadata": {"labels": None}, "spec": {}}
        made = marked(original, "gvisor", {"a": "b"})
        self.assertEqual(
            made["metadata"], {"labels": {"gvisor-ready.dev/dispatch": "gvisor"}, "annotations": {"a": "b"}}
        )
        self.assertEqual(original, {"metadata": {"labels": None}, "spec": {}})

    def test_texts_are_cut(self) -> None:
        self.assertEqual(truncated("a" * 1000), "a" * 1000)
        self.assertEqual(truncated("a" * 1001), "a" * 997 + "...")

    def test_a_pod_needs_a_name_and_a_namespace(self) -> None:
        self.assertEqual(place_of(pod("x")), ("evals", "x"))
        for wrong in ({"metadata": {"name": "x"}}, {"metadata": {"namespace": "x"}}, {}):
            with self.assertRaises(PodError):
                place_of(wrong)

    def test_what_is_no_pod_is_refused(self) -> None:
        template = {"spec": {"containers": []}}
        self.assertEqual(checked(template), template)
        for wrong in ({"kind": "Job", "spec": {"template": template}}, {"metadata": {"name": "x"}, "spec": {}}, {}):
            with self.assertRaisesRegex(PodError, "no spec.containers"):
                checked(wrong)
