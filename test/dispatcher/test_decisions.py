"""The decision for each cause under each policy, with a real HTTP server."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from functools import partial
from unittest import mock

from case import SHORT, ApiCase
from cluster_objects import (
    KVM_CLASS,
    READY_KVM,
    RUNTIME_CLASS,
    Json,
    api_with,
    fresh,
    initialises,
    kvm_node,
    never_proven,
    node,
    pod,
    pulls,
    rejects,
    unschedulable,
)
from fake_api import FakeApi
from gvisor_dispatch import DispatchError, PodError, Policy, PolicyError, RetryLaterError

GPU = [{"key": "gpu", "value": "a100", "effect": "NoSchedule"}]
WEAK = node("w", "false", "IsolationWeakened")
UNJUDGED = {**node("c", "false"), "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
DOMAIN = "gvisor.node-restriction.kubernetes.io"
NOT_READY = [{"key": f"{DOMAIN}/not-ready", "effect": "NoSchedule"}]


def nodes(*found: Json) -> Callable[[FakeApi], None]:
    return api_with(nodes=found)


def failing(reason: str = "SandboxFailed", **extra: object) -> Json:
    return node("bad", "false", reason, **extra)


def class_with(**fields: object) -> Callable[[FakeApi], None]:
    return api_with(runtime_class={"metadata": RUNTIME_CLASS["metadata"], "handler": "runsc", **fields})


def namespace(**labels: str) -> Callable[[FakeApi], None]:
    named = {f"gvisor-ready.dev/{key.replace('_', '-')}": value for key, value in labels.items()}
    return api_with(nodes=[failing()], namespaces={"evals": named})


def unreadable_namespace(status: int) -> Callable[[FakeApi], None]:
    def arrange(api: FakeApi) -> None:
        api.nodes = [failing()]
        api.fail("GET", "/namespaces/evals$", status, times=99)

    return arrange


def in_zone(zone: str) -> Json:
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


POOL = {"example.org/gvisor": "true"}
ANY = [{"operator": "Exists"}]
PREFERRED = [{**NOT_READY[0], "effect": "PreferNoSchedule"}]


def fresh_in_pool(**spec: object) -> Json:
    one = fresh("new")
    one["metadata"]["labels"] = dict(POOL)
    one["spec"] = spec
    return one


def pool(*found: Json, **scheduling: object) -> Callable[[FakeApi], None]:
    def arrange(api: FakeApi) -> None:
        class_with(scheduling={"nodeSelector": POOL, **scheduling})(api)
        api.nodes = found

    return arrange


def kvm(*found: Json, **runtime_class: object) -> Callable[[FakeApi], None]:
    return api_with(runtime_class={**KVM_CLASS, **runtime_class}, nodes=found)


def selects(handler: str, **labels: str) -> Callable[[FakeApi], None]:
    """A class that selects labels, each as `ready` or `ready_HANDLER`, and a node where everything is proven."""
    selector = {f"{DOMAIN}/{name.replace('_', '-')}": value for name, value in labels.items()}
    every = kvm_node("a", "true", labels=selector)
    return kvm(every, handler=handler, scheduling={"nodeSelector": selector})


# If an additional handler is not proven, the Node does not say why.
KVM_UNDECIDED: list[tuple[str, Json]] = [
    ("the main handler is proven", kvm_node("a", "false")),
    *(
        (f"the main handler fails with {reason}", kvm_node("a", "false", "false", reason, minutes=99999))
        for reason in ("ShimNotFound", "InstallationUnderWay")
    ),
    *(
        (f"the main handler is Unknown with {reason}", kvm_node("a", "false", "unknown", reason))
        for reason in ("NodeRebooted", "SandboxSlow")
    ),
    ("it was never proven", kvm_node("a", "false", annotations={})),
    ("no agent has judged it", node("a")),
    ("no agent has judged anything", fresh("a")),
    ("the main handler's taint", kvm_node("a", "false", "false", "ShimNotFound", taints=NOT_READY)),
]

UNSCOPED = ("ClusterError", "RuntimeClassUnscoped")
UNSCHEDULABLE = ("RetryLaterError", "NoSchedulableNode")
NO_NODE = ("RetryLaterError", "NoReadyNode")
UNDECIDED = ("RetryLaterError", "GVisorUndecided")
WITHHELD = ("ClusterError", "GVisorWithheld")
LOST = ("RetryLaterError", "AgentLost")
MISMATCH = ("ClusterError", "HandlerMismatch")
IN_GVISOR = ("gvisor", "Available")
FALLBACK = ("host", "GVisorFails")
FAILS = ("PolicyError", "GVisorFails")
# The cause, and the outcome of `prefer`. That of `require` is the same, or FAILS in place of FALLBACK.
CASES = [
    ("a proven node", nodes(node("a")), IN_GVISOR),
    ("one proven node beside failing ones", nodes(failing(), node("a")), IN_GVISOR),
    # gVisor itself is the cause.
    ("agents say that it fails", nodes(failing()), FALLBACK),
    ("the handler is not loaded", nodes(failing("HandlerNotLoaded")), FALLBACK),
    ("the handler is gone where gVisor was proven once", nodes(failing("HandlerNotConfigured")), FALLBACK),
    ("it fails since 31 minutes, never proven", nodes(never_proven("ShimNotFound", 31, "runsc")), FALLBACK),
    ("the agent's own taint", nodes(failing(taints=NOT_READY)), FALLBACK),
    ("the namespace does not consent", namespace(), FAILS),
    ("the namespace's consent is no true", namespace(allow_host_kernel="True"), FAILS),
    ("consent, but gVisor required", namespace(allow_host_kernel="true", require="true"), FAILS),
    ("consent and an audit", namespace(allow_host_kernel="true", require="audit"), FALLBACK),
    ("the namespace may not be read", unreadable_namespace(403), FAILS),
    ("the namespace is gone", unreadable_namespace(404), FAILS),
    # It is not, or that is unknown.
    ("isolation is weakened everywhere", nodes(failing("IsolationWeakened")), WITHHELD),
    ("pods could weaken their sandbox", nodes(failing("AnnotationsPassFlags")), WITHHELD),
    ("the release is too old", nodes(failing("RunscTooOld")), WITHHELD),
    ("limits do not hold", nodes(failing("LimitsNotEnforced")), WITHHELD),
    ("sandboxes boot, and do not end", nodes(failing("SandboxStuck")), WITHHELD),
    ("the handler has no network", nodes(failing("NetworkNotReady")), WITHHELD),
    ("it fails on one node and is withheld on another", nodes(failing(), WEAK), WITHHELD),
    ("it is withheld on one node, one is undecided", nodes(UNJUDGED, WEAK), UNDECIDED),
    ("the cluster is full", api_with(kubelet=unschedulable), ("RetryLaterError", "Unschedulable")),
    ("the image is slow", api_with(kubelet=pulls), ("RetryLaterError", "StartDeadlineExceeded")),
    ("admission", lambda api: api.fail("POST", "/pods", 403, times=99), ("PodError", "PodRefused")),
    ("proven nodes are cordoned", nodes(node("a", cordoned=True), failing()), UNSCHEDULABLE),
    ("proven nodes are tainted", nodes(node("a", taints=GPU), failing()), UNSCHEDULABLE),
    ("proven nodes are not Ready", nodes(node("a", kubelet="Unknown"), failing()), UNSCHEDULABLE),
    ("no node at all", nodes(), NO_NODE),
    ("299 fresh nodes beside a failing one", nodes(failing(), *(fresh(f"f{at}") for at in range(299))), UNDECIDED),
    *(
        (f"a pool that never had gVisor says {reason}", nodes(never_proven(reason, 99999, "runc")), NO_NODE)
        for reason in ("HandlerNotConfigured", "UserNamespacesDisabled", "KernelUnsupported")
    ),
    ("withheld where it was never proven", nodes(failing(), never_proven("RunscTooOld", 1)), WITHHELD),
    ("failing nodes that would not take the pod anyway", nodes(failing(taints=GPU)), NO_NODE),
    ("failing nodes that are lost", nodes(failing(kubelet="Unknown")), UNDECIDED),
    ("a label without a condition", nodes(UNJUDGED), UNDECIDED),
    ("one has lost its agent, one is undecided", nodes(UNJUDGED, node("b", "unknown", "AgentLost")), UNDECIDED),
    ("no RuntimeClass", api_with(runtime_class=None), ("ClusterError", "RuntimeClassMissing")),
    ("another handler", class_with(**{**RUNTIME_CLASS, "handler": "gvisor"}), MISMATCH),
    ("a class that selects nothing", class_with(), ("ClusterError", "RuntimeClassUnscoped")),
    ("a pool, proven", pool(node("a", labels=POOL)), IN_GVISOR),
    ("a pool at zero", pool(), NO_NODE),
    ("a pool with a new, tainted node", pool(fresh_in_pool(taints=NOT_READY)), UNDECIDED),
    ("a pool with a new node without the taint", pool(node("a", labels=POOL), fresh_in_pool()), UNSCOPED),
    ("a pool whose taint only deters", pool(fresh_in_pool(taints=PREFERRED)), UNSCOPED),
    ("a pool whose class tolerates the taint", pool(node("a", labels=POOL), tolerations=ANY), UNSCOPED),
    # Additional handlers.
    ("both are proven", kvm(kvm_node("a", "true")), IN_GVISOR),
    ("only the additional one is", kvm(kvm_node("a", "true", "false", "ShimNotFound")), IN_GVISOR),
    ("only the main one is, and selected", nodes(kvm_node("a", "false")), IN_GVISOR),
    ("only the main one fails, and is selected", nodes(kvm_node("a", "true", "false", "ShimNotFound")), FALLBACK),
    *((f"the additional one is not proven: {title}", kvm(one), UNDECIDED) for title, one in KVM_UNDECIDED),
    ("its agent is lost", kvm(kvm_node("a", "false", "unknown", "AgentLost")), LOST),
    ("a pool of an additional handler at zero", kvm(), NO_NODE),
    (
        "the main handler's taint keeps pods of the additional one away",
        kvm(kvm_node("a", "true", "false", "ShimNotFound", taints=NOT_READY)),
        UNSCHEDULABLE,
    ),
    (
        "unless the class tolerates it",
        kvm(
            kvm_node("a", "true", "false", "ShimNotFound", taints=NOT_READY),
            scheduling={**KVM_CLASS["scheduling"], "tolerations": ANY},
        ),
        IN_GVISOR,
    ),
    ("its class selects both labels", selects("runsc-kvm", ready="true", ready_runsc_kvm="true"), IN_GVISOR),
    ("runsc is an additional handler", selects("runsc", ready_runsc="true"), IN_GVISOR),
    ("its class selects the main label", selects("runsc-kvm", ready="true"), MISMATCH),
    ("its class selects another's label", selects("runsc-kvm", ready_kvm="true"), MISMATCH),
    ("its class selects what is not ready", selects("runsc-kvm", ready_runsc_kvm="false"), MISMATCH),
    ("its class selects nothing", selects("runsc-kvm"), MISMATCH),
    ("its class selects a pool", kvm(fresh_in_pool(taints=NOT_READY), scheduling={"nodeSelector": POOL}), MISMATCH),
    ("the main handler's class selects another's label", selects("runsc", ready_runsc_kvm="true"), UNSCOPED),
    ("the main handler's class selects what is not ready", selects("runsc", ready="false"), UNSCOPED),
]


class DecisionTest(ApiCase):
    def test_each_cause_under_prefer_and_require(self) -> None:
        for title, arrange, prefer in CASES:
            require = FAILS if prefer == FALLBACK else prefer
            for policy, expected in ((Policy.PREFER, prefer), (Policy.REQUIRE, require)):
                with self.subTest(title, policy=policy.value), FakeApi() as self.api:
                    arrange(self.api)
                    never = expected[1] in ("Unschedulable", "StartDeadlineExceeded")
                    self.assertEqual(self.outcome(policy, **(SHORT if never else {})), expected)
                    self.assertEqual(bool(self.on_host()), expected[0] == "host")
                    left = list(self.api.pods)
                    self.assertEqual(left, ["eval-1"] if expected[0] in ("gvisor", "host") else [])

    def test_a_pod_cannot_choose_the_nodes_that_open_the_host_to_it(self) -> None:
        zones = [failing(labels={"zone": "a"}), fresh("other")]
        for spec in ({"nodeSelector": {"zone": "a"}}, {"affinity": in_zone("a")}):
            with self.subTest(spec), FakeApi() as self.api:
                self.api.nodes = zones
                with self.assertRaisesRegex(DispatchError, "GVisorUndecided: .* other has no final verdict"):
                    self.dispatcher().dispatch(pod(**spec), Policy.PREFER)

    def test_only_nodes_that_would_take_the_pod_blame_gvisor(self) -> None:
        self.api.nodes = [failing(labels={"zone": "a"})]
        for zone, expected in (("a", "GVisorFails"), ("b", "NoReadyNode")):
            for spec in ({"nodeSelector": {"zone": zone}}, {"affinity": in_zone(zone)}):
                self.assertEqual(self.dispatcher().ask(pod(**spec)).reason, expected)

    def test_without_consent_prefer_is_require_and_says_so(self) -> None:
        self.api.namespaces["evals"] = {}
        why = (
            '"prefer" acts as "require": namespace evals does not have the label '
            'gvisor-ready.dev/allow-host-kernel: "true"; '
        )
        self.assertNotIn("acts as", self.call(Policy.PREFER).message)
        self.api.nodes = [failing()]
        with self.assertRaisesRegex(DispatchError, f"^GVisorFails: {why}agents report"):
            self.dispatcher().decide(pod("eval-2"), Policy.PREFER, "evals")

    def test_no_gvisor_needs_consent_and_a_cluster_without_any_trace_of_gvisor(self) -> None:
        consent = {"gvisor-ready.dev/allow-host-kernel": "true"}
        present, refused = ("PolicyError", "GVisorPresent"), ("PolicyError", "NoConsent")
        plain, labelled, annotated = fresh("laptop"), fresh("a"), fresh("a")
        labelled["metadata"]["labels"], annotated["metadata"]["annotations"] = (
            {f"{DOMAIN}/expected": "false"},
            {f"{DOMAIN}/proven-by": ""},
        )
        for title, nodes, absent, labels, expected in (
            ("no consent", [plain], "", {}, refused),
            ("required", [plain], "", {**consent, "gvisor-ready.dev/require": "true"}, refused),
            ("the class", [plain], "gvisor", consent, present),
            ("the default class", [plain], "mine", consent, present),
            ("the condition", [plain, {**failing(), "metadata": plain["metadata"]}], "", consent, present),
            ("a label", [labelled], "", consent, present),
            ("an annotation", [annotated], "", consent, present),
            ("a taint", [fresh("a", taints=NOT_READY)], "", consent, present),
            ("the handler", [fresh("a", handlers=["runsc"])], "", consent, present),
            ("no trace", [plain], "", consent, ("host", "NoGVisor")),
        ):
            with self.subTest(title), FakeApi() as self.api:
                vars(self.api).update(nodes=nodes, namespaces={"evals": labels})
                self.api.fail("GET", f"runtimeclasses/{absent}", 404, times=9)
                self.assertEqual(self.outcome(Policy.NO_GVISOR, runtime_class="mine"), expected)
                self.assertEqual(len(self.on_host()), expected[0] == "host")
                if self.on_host():
                    with self.assertRaisesRegex(PolicyError, "RunsOutside"):
                        self.call(Policy.REQUIRE)
                    self.api.faults.clear()
                    self.assertTrue(self.call(Policy.NO_GVISOR).adopted)
                    self.api.update("eval-1", {"phase": "Pending", "containerStatuses": []})
                    with self.assertRaisesRegex(PolicyError, "GVisorPresent"):
                        self.call(Policy.NO_GVISOR)

    def test_the_message_names_nodes_that_lost_their_agent(self) -> None:
        self.api.nodes = [failing(), node("c", "unknown", "AgentLost")]
        self.assertEqual(
            self.dispatcher().ask().message, "no node is proven, and some have lost their agent: AgentLost: c"
        )

    def test_a_decision_to_leave_gvisor_grows_old_and_one_for_gvisor_does_not(self) -> None:
        inside = self.dispatcher().decide(pod(), Policy.PREFER, "evals")
        self.api.nodes = [failing()]
        outside = self.dispatcher().decide(pod(), Policy.PREFER, "evals")
        self.assertNotIn("runtimeClassName", outside.applied(pod())["spec"])
        with mock.patch("time.monotonic", lambda: outside.made_at + 61):
            self.assertEqual(inside.applied(pod())["spec"]["runtimeClassName"], "gvisor")
            with self.assertRaisesRegex(RetryLaterError, "DecisionExpired: .* older than 60 s: decide again"):
                outside.applied(pod())

    def test_wait_creates_the_pending_pod_that_an_autoscaler_needs(self) -> None:
        self.api.nodes = []
        self.api.kubelet = unschedulable

        def scale_up() -> None:
            self.api.nodes = [node("new")]
            self.api.update("eval-1", spec={"nodeName": "new"})
            self.api.update("eval-1", {"phase": "Running"})

        self.later(1.5, scale_up)
        self.assertEqual(self.outcome(Policy.WAIT), ("gvisor", "NoReadyNode"))
        self.assertEqual(len(self.api.created), 1)

    def test_wait_never_leaves_gvisor_and_ends_at_its_deadline(self) -> None:
        self.api.nodes = [failing()]
        self.api.kubelet = unschedulable
        self.assertEqual(self.outcome(Policy.WAIT, **SHORT), ("RetryLaterError", "Unschedulable"))
        self.assertEqual((self.on_host(), self.api.pods), ([], {}))

    def test_only_the_handler_of_the_class_moves_a_pod_that_has_not_started(self) -> None:
        def binds(api: FakeApi, name: str, failing: Json) -> None:
            if len(api.created) > 1:
                api.update(name, {"phase": "Running"}, {"nodeName": "node-2"})
                return
            api.update(name, spec={"nodeName": "node-1"})
            api.nodes = [failing, kvm_node("node-2", "true")]
            self.later(1, lambda: api.update(name, {"phase": "Running"}))

        for arrange, failing, pods in (
            (nodes(node("node-1")), node("node-1", "false", "ShimNotFound"), 2),
            (kvm(kvm_node("node-1", "true")), kvm_node("node-1", "true", "false", "ShimNotFound"), 1),
            (kvm(kvm_node("node-1", "true")), kvm_node("node-1", "false"), 2),
        ):
            with self.subTest(pods=pods), FakeApi() as self.api:
                arrange(self.api)
                self.api.kubelet = partial(binds, failing=failing)
                self.assertEqual(self.outcome(Policy.PREFER), ("gvisor", "Available"))
                self.assertEqual((len(self.api.created), self.on_host()), (pods, []))

    def test_the_message_names_the_label_of_an_additional_handler(self) -> None:
        mismatch = f'the handler "runsc-kvm", but does not select {READY_KVM}: "true"; the main handler is "runsc"'
        for arrange, message in (
            (
                kvm(kvm_node("a", "false")),
                f'a has no final verdict: label {READY_KVM} is "false", which names no cause',
            ),
            (kvm(node("a")), f"a has no final verdict: no verdict in the label {READY_KVM}"),
            (kvm(kvm_node("a", "true", taints=NOT_READY)), f"no pod can go: taint {DOMAIN}/not-ready=:NoSchedule: a"),
            (selects("runsc-kvm", ready="true"), f'RuntimeClass "gvisor" has {mismatch}'),
        ):
            arrange(self.api)
            self.assertRegex(self.dispatcher().ask().message, f"{re.escape(message)}$")

    def test_another_main_handler(self) -> None:
        selects("runsc-kvm", ready="true")(self.api)
        self.assertTrue(self.dispatcher(handler="runsc-kvm").ask().available)

    def test_a_pod_that_gvisor_cannot_run_does_not_open_the_host_to_it(self) -> None:
        """The pod's author shapes its failure; the agents still prove gVisor."""

        def breaks(api: FakeApi, name: str) -> None:
            api.update(name, spec={"nodeName": "node-1"})
            event = {"reason": "FailedCreatePodSandBox", "message": "runsc: bad spec"}
            api.events.append({"metadata": {"name": "e"}, "involvedObject": {}, **event})

        self.api.kubelet = breaks
        self.assertEqual(self.outcome(Policy.PREFER, **SHORT), ("RetryLaterError", "StartDeadlineExceeded"))
        self.assertEqual(self.on_host(), [])

    def test_what_starts_in_gvisor_nowhere_is_refused_before_anything_is_created(self) -> None:
        def mounts(**fields: str) -> list[Json]:
            return [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v", **fields}]}]

        for field, spec in (
            ("hostUsers: false", {"hostUsers": False}),
            ("recursiveReadOnly: Enabled", {"containers": mounts(recursiveReadOnly="Enabled")}),
            ("mountPropagation: Bidirectional", {"initContainers": mounts(mountPropagation="Bidirectional")}),
        ):
            with self.subTest(field), self.assertRaisesRegex(PodError, f"PodCannotStart: .* with {field}: "):
                self.dispatcher().dispatch(pod(**spec), Policy.PREFER)
        self.assertEqual(self.api.created, [])
        harmless = pod(hostUsers=True, containers=mounts(recursiveReadOnly="IfPossible"))
        self.assertTrue(self.dispatcher().dispatch(harmless, Policy.PREFER).in_gvisor)

    def test_a_pod_in_its_init_containers_has_started(self) -> None:
        self.api.kubelet = initialises
        self.assertEqual(self.outcome(Policy.PREFER), ("gvisor", "Available"))
        self.assertEqual(list(self.api.pods), ["eval-1"])

    def test_a_pod_that_kubelets_reject_is_tried_three_times(self) -> None:
        self.api.kubelet = partial(rejects, reason="OutOfcpu", message="no room")
        self.assertEqual(self.outcome(Policy.PREFER), ("RetryLaterError", "PodRejected"))
        self.assertEqual((len(self.api.created), self.on_host()), (3, []))


class RecordTest(ApiCase):
    def test_each_decision_is_a_line_of_json(self) -> None:
        with self.assertLogs("gvisor_dispatch.decisions", "INFO") as logs:
            for policy, nodes, given in (
                (Policy.WAIT, [], pod()),
                (Policy.PREFER, [failing()], pod()),
                (Policy.REQUIRE, [failing()], pod()),
                (Policy.REQUIRE, [], None),
                (Policy.REQUIRE, [], pod(nodeName="a")),
            ):
                self.api.nodes = nodes
                with contextlib.suppress(DispatchError):
                    self.dispatcher().decide(given, policy, "evals")
        lines = [json.loads(one.getMessage()) for one in logs.records]
        self.assertEqual([one["decision"] for one in lines], ["gvisor", "host", "refused", "later", "refused"])
        reasons = ["NoReadyNode", "GVisorFails", "GVisorFails", "NoReadyNode", "PodRefused"]
        self.assertEqual([one["reason"] for one in lines], reasons)
        self.assertEqual((lines[0]["namespace"], lines[0]["name"], lines[0]["policy"]), ("evals", "eval-1", "wait"))

    def test_a_fallback_can_be_read_afterwards(self) -> None:
        self.api.nodes = [failing()]
        with self.assertLogs("gvisor_dispatch", "WARNING") as logs:
            started = self.call(Policy.PREFER)
        self.assertEqual((started.in_gvisor, started.reason), (False, "GVisorFails"))
        meta = self.api.pods["eval-1"]["metadata"]
        self.assertEqual(meta["labels"], {"gvisor-ready.dev/dispatch": "fallback"})
        notes = {key.removeprefix("gvisor-ready.dev/dispatch-"): text for key, text in meta["annotations"].items()}
        self.assertEqual((notes["policy"], notes["reason"]), ("prefer", "GVisorFails"))
        self.assertIn("SandboxFailed: bad", notes["message"])
        [event] = self.api.events
        self.assertEqual((event["type"], event["reason"]), ("Warning", "GVisorFallback"))
        self.assertEqual(event["involvedObject"]["uid"], meta["uid"])
        self.assertIn("runs WITHOUT gVisor: GVisorFails", logs.output[0])

    def test_an_event_that_cannot_be_written_stops_nothing(self) -> None:
        self.api.nodes = [failing()]
        self.api.fail("POST", "/events", 403)
        with self.assertLogs("gvisor_dispatch", "WARNING") as logs:
            self.assertEqual(self.outcome(Policy.PREFER), ("host", "GVisorFails"))
        self.assertIn("cannot write an Event", logs.output[1])
