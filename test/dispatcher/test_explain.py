"""Why a pod runs in gVisor, or does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from unittest import mock

from case import ApiCase
from cluster_objects import (
    KVM_CLASS,
    READY,
    READY_KVM,
    RUNTIME_CLASS,
    Json,
    ago,
    api_with,
    cannot_pull,
    kvm_node,
    node,
    pod,
    rejects,
    runs,
    unschedulable,
)
from fake_api import FakeApi
from gvisor_dispatch import DispatchError, Explanation

IN_GVISOR = {"runtimeClassName": "gvisor"}
IN_KVM = {"runtimeClassName": "gvisor-kvm"}
FAILS = node("node-1", "false", "ShimNotFound")


def kvm(found: Json) -> Callable[[FakeApi], None]:
    return api_with(runtime_class=KVM_CLASS, nodes=[found])


def event(reason: str, component: str = "gvisor-ready", host: str = "node-1") -> Callable[[FakeApi], None]:
    source = {"component": component, "host": host}
    found = {"metadata": {"name": "e"}, "reason": reason, "message": f"{reason}, from the agent", "source": source}
    return lambda api: api.events.append(found)


def started(minutes: float | None) -> Callable[[FakeApi], None]:
    """A pod that started some minutes before its node was proven."""
    time = None if minutes is None else ago(minutes)
    return lambda api: api.update("eval-1", {"startTime": time})


class ExplainTest(ApiCase):
    def explain(
        self, spec: Json, kubelet: Callable[[FakeApi, str], None], arrange: object = None, age: float = 31
    ) -> Explanation:
        with FakeApi() as self.api:
            self.api.seconds_later(age)
            self.api.add_pod("evals", pod(**spec))
            kubelet(self.api, "eval-1")
            if callable(arrange):
                arrange(self.api)
            return self.dispatcher().explain({"metadata": {"name": "eval-1", "namespace": "evals"}})

    def test_each_place(self) -> None:
        other = api_with(runtime_class={**RUNTIME_CLASS, "handler": "runc"})
        missing = api_with(runtime_class=None)
        only_kvm = kvm(kvm_node("node-1", "true", "false", "ShimNotFound"))
        only_main, lost = kvm(kvm_node("node-1", "false")), kvm(kvm_node("node-1", "false", "unknown", "AgentLost"))
        unscoped = api_with(runtime_class={**KVM_CLASS, "handler": "runsc"})
        wrong = api_with(runtime_class={**KVM_CLASS, "scheduling": {"nodeSelector": {READY: "true"}}})
        undecided = node("node-1", "unknown", "SandboxSlow")
        rejected = partial(rejects, reason="NodeAffinity", message="Predicate failed")
        cases = [
            ((IN_GVISOR, runs), (True, "InGVisor", "gVisor is proven on node-1: SandboxProven")),
            ((IN_GVISOR, runs, event("WeakenedPod")), (True, "WeakenedPod", "from the agent")),
            ((IN_GVISOR, runs, event("BackOff")), (True, "InGVisor", "SandboxProven")),
            (({}, runs), (False, "NoRuntimeClass", "no runtimeClassName: it runs on the host's kernel")),
            (({}, unschedulable), (False, "NoRuntimeClass", "host's kernel")),
            ((IN_GVISOR, runs, event("UnsandboxedPod")), (False, "UnsandboxedPod", "from the agent")),
            ((IN_GVISOR, runs, event("UnsandboxedPod", host="node-2")), (True, "InGVisor", "SandboxProven")),
            ((IN_GVISOR, runs, event("UnsandboxedPod", "kubelet")), (True, "InGVisor", "SandboxProven")),
            ((IN_GVISOR, runs, other), (False, "HandlerMismatch", 'has the handler "runc"')),
            ((IN_GVISOR, runs, missing), (None, "RuntimeClassMissing", 'no RuntimeClass "gvisor"')),
            ((IN_GVISOR, runs, api_with(nodes=[FAILS])), (None, "NodeUnproven", "not proven now: False: ShimNotFound")),
            ((IN_GVISOR, runs, api_with(nodes=[undecided])), (None, "NodeUnproven", "now: Unknown: SandboxSlow")),
            ((IN_GVISOR, runs, api_with(nodes=[])), (None, "NodeUnproven", "the node is gone")),
            ((IN_GVISOR, runs, started(5)), (None, "StartedUnproven", "started before gVisor was proven on node-1")),
            ((IN_GVISOR, runs, started(None)), (None, "StartedUnproven", "or that is not known")),
            ((IN_GVISOR, runs, api_with(nodes=[node("node-1", minutes=5)])), (True, "InGVisor", "SandboxProven")),
            ((IN_KVM, runs, only_kvm), (True, "InGVisor", f'proven on node-1: label {READY_KVM} is "true"')),
            ((IN_KVM, runs, only_main), (None, "NodeUnproven", f'now: False: label {READY_KVM} is "false"')),
            ((IN_KVM, runs, lost), (None, "NodeUnproven", "now: Unknown: AgentLost")),
            ((IN_KVM, runs, wrong), (False, "HandlerMismatch", f"does not select {READY_KVM}")),
            ((IN_KVM, runs, unscoped), (True, "InGVisor", "proven on node-1: SandboxProven")),
            ((IN_KVM, unschedulable, unscoped), (None, "NotScheduled", "RuntimeClassUnscoped: ")),
            ((IN_KVM, unschedulable, only_main), (None, "NotScheduled", "GVisorUndecided: .* node-1 has no final")),
            ((IN_GVISOR, unschedulable), (None, "NotScheduled", "3 Insufficient cpu.; Available: proven nodes")),
            ((IN_GVISOR, unschedulable, api_with(nodes=[FAILS])), (None, "NotScheduled", "GVisorFails: .* node-1")),
            ((IN_GVISOR, cannot_pull), (None, "NotStarted", "InvalidImageName: ")),
            ((IN_GVISOR, rejected), (None, "PodRejected", "NodeAffinity: Predicate failed")),
            ((IN_GVISOR, lambda api, name: api.remove(name)), (None, "PodMissing", "there is no pod evals/eval-1")),
        ]
        for arguments, (in_gvisor, reason, text) in cases:
            with self.subTest(reason, text=text):
                found = self.explain(*arguments)
                self.assertEqual((found.in_gvisor, found.reason), (in_gvisor, reason), found.message)
                self.assertRegex(found.message, text)

    def test_a_pod_counts_as_in_gvisor_once_its_agent_has_seen_it_or_had_the_time(self) -> None:
        def report(**pods: object) -> Callable[[FakeApi], None]:
            def arrange(api: FakeApi) -> None:
                api.reports["node-1"] = {"pods": {**nothing, **pods}}

            return arrange

        nothing: Json = {"stale": False, "at": ago(-1), "violating": [], "permitted": [], "sandboxedUids": []}
        one = {"uid": "uid-101", "evidence": 'process 7 is "/pause"'}
        for arrange, age, expected in (
            (None, 2, (None, "NotSeenYet")),
            (None, 31, (True, "InGVisor")),
            (event("UnsandboxedPod"), 2, (False, "UnsandboxedPod")),
            (report(), 2, (None, "NotSeenYet")),
            (report(sandboxedUids=["uid-101"]), 2, (True, "InGVisor")),
            (report(sandboxedUids=["uid-101"], stale=True), 2, (None, "NotSeenYet")),
            (report(sandboxedUids=["uid-101"], at=ago(0.1)), 2, (None, "NotSeenYet")),
            (report(sandboxedUids=["uid-101"], at=7), 2, (None, "NotSeenYet")),
            (report(violating=[one]), 31, (False, "UnsandboxedPod")),
            (report(permitted=[one]), 31, (False, "UnsandboxedPod")),
            (report(violating=7), 2, (None, "NotSeenYet")),
            (api_with(reports={"node-1": [1]}), 2, (None, "NotSeenYet")),
            (lambda api: api.fail("GET", "/namespaces/gvisor-ready/pods", 403), 2, (None, "NotSeenYet")),
        ):
            with self.subTest(expected, age=age):
                found = self.explain(IN_GVISOR, runs, arrange, age)
                self.assertEqual((found.in_gvisor, found.reason), expected, found.message)

    def test_what_dispatch_says_is_what_was_seen(self) -> None:
        """While the pod starts, its class, its node or its agent's view of it changes."""
        runc = api_with(runtime_class={**RUNTIME_CLASS, "handler": "runc"})
        for change, expected in (
            (lambda _: None, (True, "Available")),
            (runc, (False, "HandlerMismatch")),
            (event("UnsandboxedPod"), (False, "UnsandboxedPod")),
            (event("WeakenedPod"), (True, "WeakenedPod")),
            (api_with(nodes=[]), (None, "NodeUnproven")),
            (lambda api: api.fail("GET", "/events", 403), (None, "ApiRefused")),
        ):
            with self.subTest(expected), FakeApi() as self.api:
                self.api.kubelet = lambda api, name, change=change: (change(api), runs(api, name))
                started = self.call()
                self.assertEqual((started.in_gvisor, started.reason, started.node), (*expected, "node-1"))

    def test_a_forged_event_makes_no_pod_count_as_in_gvisor(self) -> None:
        self.assertFalse(self.explain({}, runs, event("WeakenedPod")).in_gvisor)

        def fails_with_event(api: FakeApi) -> None:
            event("WeakenedPod")(api)
            api.nodes = [FAILS]

        self.assertIsNone(self.explain(IN_GVISOR, runs, fails_with_event).in_gvisor)

    def test_the_pods_of_a_selector(self) -> None:
        self.api.seconds_later(31)
        for name, spec, release in (("a", IN_GVISOR, "r1"), ("b", {}, "r1"), ("c", {}, "r2")):
            one = pod(name, **spec)
            one["metadata"]["labels"] = {"app.kubernetes.io/instance": release}
            self.api.add_pod("evals", one)
            runs(self.api, name)
        found = self.dispatcher().explain_selected("evals", "app.kubernetes.io/instance=r1")
        self.assertEqual({name: one.in_gvisor for name, one in found.items()}, {"a": True, "b": False})

    def test_classes_and_nodes_are_read_once_for_many_pods(self) -> None:
        self.api.seconds_later(31)
        for at in range(20):
            one = pod(f"eval-{at}", **IN_GVISOR)
            one["metadata"]["labels"] = {"app": "r1"}
            self.api.add_pod("evals", one)
            (runs if at < 10 else unschedulable)(self.api, f"eval-{at}")
        found = self.dispatcher().explain_selected("evals", "app=r1")
        self.assertEqual({one.reason for one in found.values()}, {"InGVisor", "NotScheduled"})
        for path in ("runtimeclasses", r"nodes\?fieldSelector", r"nodes\?labelSelector"):
            self.assertEqual(len(self.api.requests(path)), 1, path)

    def test_pods_are_confirmed_only_once_all_are_seen_in_gvisor(self) -> None:
        labels = {"instance": "a"}

        def confirm(**pods: Json) -> None:
            self.api.pods.clear()
            for name, spec in pods.items():
                one = {**pod(name, **spec), "status": {"phase": "Running", "startTime": ago(0)}}
                self.api.add_pod("evals", {**one, "metadata": {"name": name, "labels": labels}})
            self.dispatcher().confirm_selected("evals", "instance=a")

        self.api.seconds_later(31)
        inside, doubtful = {"nodeName": "node-1", **IN_GVISOR}, {"nodeName": "unproven", **IN_GVISOR}
        confirm(inside=inside)
        with mock.patch("gvisor_dispatch.dispatcher.CONFIRM_SECONDS", 0.5):
            for pods, reason in (
                ({}, "PlaceUnknown: .* there is no pod instance=a in evals"),
                ({"inside": inside, "doubtful": doubtful}, "PlaceUnknown: .* s: doubtful: NodeUnproven: "),
                ({"doubtful": doubtful, "outside": {"nodeName": "node-1"}}, "RunsOutside: .* outside: NoRuntimeClass"),
            ):
                with self.subTest(reason), self.assertRaisesRegex(DispatchError, f"^{reason}"):
                    confirm(**pods)
        self.later(0.5, lambda: vars(self.api).update(nodes=[node("unproven", minutes=1)]))
        confirm(doubtful=doubtful)
