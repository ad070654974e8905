"""The pure part of the dispatcher: what counts as available, and when a pod may run without gVisor."""

from __future__ import annotations

import sys
import unittest
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "dispatcher"))

from kubernetes import client

from gvisor_dispatch import (
    Availability,
    Policy,
    Settings,
    availability,
    has_started,
    is_settled,
    may_fall_back,
    tolerates,
)

READY = Settings().ready_label


def runtime_class(
    handler: str = "runsc",
    selector: dict[str, str] | None = None,
    tolerations: list[client.V1Toleration] | None = None,
) -> client.V1RuntimeClass:
    labels = {READY: "true"} if selector is None else selector
    return client.V1RuntimeClass(
        handler=handler, scheduling=client.V1Scheduling(node_selector=labels, tolerations=tolerations)
    )


def node(
    name: str = "n1",
    labels: dict[str, str] | None = None,
    ready: str | None = "True",
    taints: list[client.V1Taint] | None = None,
    cordoned: bool | None = None,
) -> client.V1Node:
    conditions = [] if ready is None else [client.V1NodeCondition(type="Ready", status=ready)]
    return client.V1Node(
        metadata=client.V1ObjectMeta(name=name, labels={READY: "true"} if labels is None else labels),
        spec=client.V1NodeSpec(taints=taints, unschedulable=cordoned),
        status=client.V1NodeStatus(conditions=conditions),
    )


def pod(
    selector: dict[str, str] | None = None, tolerations: list[client.V1Toleration] | None = None
) -> client.V1PodSpec:
    return client.V1PodSpec(containers=[], node_selector=selector, tolerations=tolerations)


def judged(
    rc: client.V1RuntimeClass | None, nodes: list[client.V1Node], spec: client.V1PodSpec | None = None
) -> Availability:
    return availability(rc, nodes, spec or pod(), Settings())


GPU = client.V1Taint(key="gpu", value="a100", effect="NoSchedule")


class AvailabilityTest(unittest.TestCase):
    def test_a_ready_node_is_available_and_named(self) -> None:
        answer = judged(runtime_class(), [node("a"), node("b", labels={READY: "false"}), node("c")])
        self.assertEqual((answer.available, answer.nodes), (True, ("a", "c")))

    def test_reasons(self) -> None:
        cases = [
            ("RuntimeClassMissing", None, [node()]),
            ("HandlerMismatch", runtime_class(handler="runc"), [node()]),
            ("RuntimeClassUnscoped", runtime_class(selector={}), [node()]),
            ("RuntimeClassUnscoped", client.V1RuntimeClass(handler="runsc"), [node()]),
            ("RuntimeClassUnscoped", runtime_class(selector={READY: "false"}), [node()]),
            ("NoReadyNode", runtime_class(), []),
            ("NoReadyNode", runtime_class(), [node(labels={READY: "false"})]),
            ("NoReadyNode", runtime_class(), [node(labels={})]),
            ("NoReadyNode", runtime_class(selector={READY: "true", "zone": "x"}), [node()]),
            ("NoSchedulableNode", runtime_class(), [node(ready="False")]),
            ("NoSchedulableNode", runtime_class(), [node(ready="Unknown")]),
            ("NoSchedulableNode", runtime_class(), [node(ready=None)]),
            ("NoSchedulableNode", runtime_class(), [node(cordoned=True)]),
            ("NoSchedulableNode", runtime_class(), [node(taints=[GPU])]),
        ]
        for reason, rc, nodes in cases:
            with self.subTest(reason=reason, nodes=len(nodes)):
                answer = judged(rc, nodes)
                self.assertEqual((answer.reason, answer.available, answer.nodes), (reason, False, ()))

    def test_the_message_names_each_node_and_what_is_in_its_way(self) -> None:
        answer = judged(runtime_class(), [node("a", cordoned=True), node("b", taints=[GPU]), node("c", ready="False")])
        for part in ("a has the taint node.kubernetes.io/unschedulable", "b has the taint gpu=a100", "c is not Ready"):
            self.assertIn(part, answer.message)

    def test_one_fit_node_among_unfit_ones_is_enough(self) -> None:
        self.assertEqual(judged(runtime_class(), [node("a", taints=[GPU]), node("b")]).nodes, ("b",))

    def test_tolerations_of_the_pod_and_of_the_runtime_class_count(self) -> None:
        toleration = client.V1Toleration(key="gpu", operator="Exists")
        self.assertTrue(judged(runtime_class(), [node(taints=[GPU])], pod(tolerations=[toleration])).available)
        self.assertTrue(judged(runtime_class(tolerations=[toleration]), [node(taints=[GPU])]).available)

    def test_a_taint_that_only_prefers_is_no_obstacle(self) -> None:
        soft = client.V1Taint(key="gpu", effect="PreferNoSchedule")
        self.assertTrue(judged(runtime_class(), [node(taints=[soft])]).available)

    def test_the_pods_own_selector_must_hold_too(self) -> None:
        answer = judged(runtime_class(), [node()], pod(selector={"zone": "x"}))
        self.assertEqual(answer.reason, "NoSchedulableNode")
        self.assertIn("zone=x", answer.message)

    def test_names_of_the_cluster_are_settings(self) -> None:
        own = Settings(runtime_class="sandboxed", handler="gvisor", ready_label="example.org/ready")
        rc = runtime_class(handler="gvisor", selector={"example.org/ready": "true"})
        self.assertTrue(availability(rc, [node(labels={"example.org/ready": "true"})], pod(), own).available)


class TolerationTest(unittest.TestCase):
    def test_the_schedulers_rule(self) -> None:
        toleration = client.V1Toleration
        cases = [
            (toleration(operator="Exists"), True),
            (toleration(key="gpu", operator="Exists"), True),
            (toleration(key="gpu", value="a100"), True),
            (toleration(key="gpu", operator="Equal", value="a100", effect="NoSchedule"), True),
            (toleration(key="gpu", operator="Equal", value="h100"), False),
            (toleration(key="gpu"), False),
            (toleration(key="cpu", operator="Exists"), False),
            (toleration(operator="Exists", effect="NoExecute"), False),
            (toleration(key="gpu", operator="Gt", value="1"), False),
        ]
        for one, expected in cases:
            with self.subTest(one=one.to_dict()):
                self.assertIs(tolerates(one, GPU), expected)


class FallbackTest(unittest.TestCase):
    def test_only_prefer_and_only_where_the_namespace_does_not_require_gvisor(self) -> None:
        required = {"require-gvisor": "true"}
        self.assertTrue(may_fall_back(Policy.PREFER, {}))
        self.assertTrue(may_fall_back(Policy.PREFER, {"require-gvisor": "false"}))
        self.assertFalse(may_fall_back(Policy.PREFER, required))
        self.assertFalse(may_fall_back(Policy.REQUIRE, {}))
        self.assertFalse(may_fall_back(Policy.REQUIRE, required))


class PhaseTest(unittest.TestCase):
    @staticmethod
    def pod(phase: str, ran: bool = False, deleted: bool = False) -> client.V1Pod:
        state = client.V1ContainerState(terminated=client.V1ContainerStateTerminated(exit_code=1) if ran else None)
        status = client.V1ContainerStatus(name="c", image="i", image_id="", ready=False, restart_count=0, state=state)
        return client.V1Pod(
            metadata=client.V1ObjectMeta(deletion_timestamp=datetime.now(UTC) if deleted else None),
            status=client.V1PodStatus(phase=phase, container_statuses=[status] if ran else None),
        )

    def test_what_counts_as_started_and_what_as_settled(self) -> None:
        cases = [
            (self.pod("Pending"), False, False),
            (self.pod("Running"), True, True),
            (self.pod("Succeeded"), True, True),
            (self.pod("Failed", ran=True), True, True),
            (self.pod("Failed"), False, True),  # the kubelet rejected it
            (self.pod("Running", deleted=True), False, False),
        ]
        for one, started, settled in cases:
            with self.subTest(phase=one.status.phase):
                self.assertEqual((has_started(one), is_settled(one)), (started, settled))


if __name__ == "__main__":
    unittest.main()
