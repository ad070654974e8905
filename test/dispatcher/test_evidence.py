"""Which states of a node keep a fallback closed while another node fails: the table of the README, row by row."""

from __future__ import annotations

import copy
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from case import ApiCase
from cluster_objects import EXPECTED, FAILED_BOOT, READY, Json, fresh, never_proven, node, pod

README = Path(__file__).parents[2] / "dispatcher/README.md"
FAILS = node("bad", "false", "SandboxFailed")
UNKNOWN = ("NodeRebooted", "AgentCannotWrite", "AgentStarting", "NodeExhausted", "SandboxSlow", "OfTomorrow")
STARTING = [{"key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule"}]
PRESSURE = [{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]
AWAY = ({}, {"cordoned": True}, {"taints": STARTING}, {"taints": PRESSURE}, {"kubelet": "Unknown"})
HOUR = {"minutes": 60, "handlers": ["runsc"]}


def fails(**extra: object) -> Json:
    return node("other", "false", "ShimNotFound", **extra)


def without_boot() -> Json:
    one = fails()
    one["status"]["nodeInfo"] = {"bootID": ""}
    one["metadata"]["annotations"][FAILED_BOOT] = ""
    return one


# A row of the README's table, the outcome of `prefer` beside a node that fails, and nodes in that state.
ROWS: list[tuple[str, str, list[Json]]] = [
    ("`False`, and gVisor was proven there once", "fallback", [fails()]),
    ("the same, cordoned or tainted", "fallback", [fails(cordoned=True), fails(taints=STARTING)]),
    (
        "`False` for `install_grace`, never proven, the kubelet lists the handler",
        "fallback",
        [never_proven("ShimNotFound", 31, "runsc")],
    ),
    (
        '`False` for `install_grace`, never proven, `expected` is "false": left out',
        "fallback",
        [never_proven("HandlerNotConfigured", 31, **away) for away in AWAY],
    ),
    ("no condition: no agent has judged it", "GVisorUndecided", [fresh("other", **away) for away in AWAY]),
    (
        "`Unknown`, such as `NodeRebooted`, `AgentCannotWrite`, `NodeExhausted`",
        "GVisorUndecided",
        [node("other", "unknown", reason, **away) for reason in UNKNOWN for away in AWAY],
    ),
    (
        "`True`, its label still on its way",
        "GVisorUndecided",
        [node("other", labels={READY: "false"}, **away) for away in AWAY],
    ),
    ("`Unknown`, `AgentLost`", "AgentLost", [node("other", "unknown", "AgentLost", **away) for away in AWAY]),
    ("`False`, not Ready", "GVisorUndecided", [fails(kubelet="Unknown"), fails(kubelet="False", **HOUR)]),
    ("`False`, tainted by Kubernetes, such as under pressure", "GVisorUndecided", [fails(taints=PRESSURE)]),
    ("`False`, of another boot or of none", "GVisorUndecided", [fails(boot="before"), without_boot()]),
    (
        "`False`, `InstallationUnderWay`",
        "GVisorUndecided",
        [node("other", "false", "InstallationUnderWay", **away, **HOUR) for away in AWAY],
    ),
    (
        "`False` for less than `install_grace`, or on a Node that is younger, never proven",
        "GVisorUndecided",
        [
            *(never_proven(reason, 20, "runsc") for reason in ("ShimNotFound", "HandlerNotLoaded")),
            never_proven("HandlerNotConfigured", 20, taints=STARTING),
            never_proven("ShimNotFound", 60, "runsc", age=1),
            never_proven("HandlerNotConfigured", 60, age=1),
            never_proven("ShimNotFound", -60, "runsc"),
        ],
    ),
    (
        "`False` for long, never proven, the kubelet lists no handler",
        "GVisorUndecided",
        [never_proven("RestartPending", 99999, labels={label: "true"}) for label in (EXPECTED, "none")],
    ),
    (
        "`False`, where gVisor boots and is withheld",
        "GVisorWithheld",
        [node("other", "false", "IsolationWeakened", **away) for away in AWAY[:3]],
    ),
]
SETTLED = [one for _, outcome, nodes in ROWS for one in nodes if outcome == "fallback"]
DOUBTFUL = [one for _, outcome, nodes in ROWS for one in nodes if outcome != "fallback"]


class EvidenceTest(ApiCase):
    def test_each_row_beside_a_node_that_fails(self) -> None:
        for row, expected, nodes in ROWS:
            for at, one in enumerate(nodes):
                with self.subTest(row, at=at):
                    self.api.nodes = [FAILS, one]
                    self.assertEqual(self.dispatcher().ask().reason, expected.replace("fallback", "GVisorFails"))

    def test_the_readme_has_the_rows(self) -> None:
        table = README.read_text(encoding="utf-8").partition("| the other node |")[2].partition("\n\n")[0]
        self.assertEqual(
            re.findall(r"^\| (.*) \| `?(\w+)`? \|$", table, re.MULTILINE),
            [(row, outcome) for row, outcome, _ in ROWS],
        )

    def test_no_fleet_with_a_node_in_doubt_opens_the_host_and_any_other_does(self) -> None:
        """Whatever keeps pods away for a minute makes no node count less, and no pod chooses which nodes count."""
        for seed in range(60):
            rng = random.Random(seed)
            doubtful = rng.sample(DOUBTFUL, rng.choice((0, 0, 1, 3)))
            fleet = [copy.deepcopy(one) for one in (*doubtful, *rng.choices(SETTLED, k=rng.randint(0, 4)))]
            for one in fleet:
                one["metadata"]["labels"]["zone"] = rng.choice("ab")
                one["spec"]["unschedulable"] = one["spec"]["unschedulable"] or rng.random() < 0.3
                one["spec"]["taints"] = [*one["spec"]["taints"], *(STARTING if rng.random() < 0.3 else [])]
            fleet.append({**FAILS, "metadata": {**FAILS["metadata"], "labels": {"zone": "a"}}})
            rng.shuffle(fleet)
            self.api.nodes = fleet
            spec = rng.choice(({}, {"nodeSelector": {"zone": "a"}}, {"tolerations": [{"operator": "Exists"}]}))
            found = self.dispatcher().ask(pod(**spec))
            with self.subTest(seed=seed, message=found.message):
                self.assertEqual(found.gvisor_fails, not doubtful)

    def test_only_the_api_servers_clock_counts(self) -> None:
        """A machine whose clock is ahead or behind decides alike."""
        self.api.nodes = [never_proven("ShimNotFound", 20, "runsc")]
        for hours, expected in ((0, "GVisorUndecided"), (1, "GVisorFails")):
            self.api.clock = lambda hours=hours: datetime.now(UTC) + timedelta(hours=hours)
            self.assertEqual(self.dispatcher().ask().reason, expected)
