/** Series of promtool's tests: what each holds, a value a minute, by its name with labels. */
export type Series = Readonly<Record<string, string>>;

/** What differs from a node on which all is well: values by metric; an empty text for no such series. */
export type Changes = Readonly<Record<string, string>>;

/** How long the tests' hour is, in minutes. */
export const MINUTES = 60;

/** A value that stays, and a time that goes on. */
export const always = (value: number) => `${value}x${MINUTES}`;
const TICKING = `0+60x${MINUTES}`;

/** What an agent tells of a node on which all is well. */
const AGENT = {
  'up{job="gvisor-ready-agent"}': always(1),
  'gvisor_node_status{status="True"}': always(1),
  'gvisor_node_reason{reason="SandboxProven"}': always(1),
  gvisor_node_expected: always(1),
  gvisor_time_seconds: TICKING,
  gvisor_last_proof_timestamp_seconds: TICKING,
  gvisor_proof_interval_seconds: always(600),
  gvisor_pods_last_seen_timestamp_seconds: TICKING,
  gvisor_namespaces_last_update_timestamp_seconds: TICKING,
  gvisor_unknown_pods: always(0),
  gvisor_unsandboxed_pods: always(0),
} as const;

const DAEMON_SET = 'namespace="gvisor-ready", daemonset="gvisor-ready-agent"';
/** The agent's pod of a node, as kube-state-metrics names it. */
export const POD =
  'kube_pod_info{namespace="gvisor-ready", created_by_kind="DaemonSet", created_by_name="gvisor-ready-agent"}';
/** The label of a node that is ready. */
const LABELLED = 'kube_node_labels{label_gvisor_node_restriction_kubernetes_io_ready="true"}';
/** The label of one that is not. */
const REFUSED = 'kube_node_labels{label_gvisor_node_restriction_kubernetes_io_ready="false"}';
/** Whether a node is ready for Kubernetes. */
export const KUBELET = 'kube_node_status_condition{condition="Ready", status="true"}';
/** How many agents are wanted, and how many are there. */
export const WANTED = `kube_daemonset_status_desired_number_scheduled{${DAEMON_SET}}`;
export const CREATED = `kube_daemonset_status_current_number_scheduled{${DAEMON_SET}}`;

/** What kube-state-metrics tells of such a node. */
const KUBE = {
  kube_node_info: always(1),
  [LABELLED]: always(1),
  [KUBELET]: always(1),
  kube_node_spec_unschedulable: always(0),
  [POD]: always(1),
};

/** The metrics of an agent, with these changes, under these labels. */
export function agent(labels: string, changes: Changes = {}): Series {
  return labelled(labels, { ...AGENT, ...changes });
}

/** What kube-state-metrics tells of a node, with these changes, under these labels. */
export function kube(labels: string, changes: Changes = {}): Series {
  return labelled(labels, { ...KUBE, ...changes });
}

/** What a fleet controller tells that sees all nodes, and has nothing to do. */
const CONTROLLER = {
  gvisor_fleet_watches_up: always(1),
  gvisor_fleet_agents_missing: always(0),
  gvisor_fleet_paused_withdrawals: always(0),
  gvisor_fleet_withdrawals_total: always(0),
  gvisor_fleet_oldest_proof_timestamp_seconds: always(600),
};

/** The metrics of a fleet controller, with these changes, under these labels. */
export function controller(labels: string, changes: Changes = {}): Series {
  return labelled(labels, { ...CONTROLLER, ...changes });
}

/** A node where gVisor was never installed, such as a control plane. */
export function without(labels: string): Series {
  return {
    ...agent(labels, {
      'gvisor_node_status{status="True"}': always(0),
      'gvisor_node_reason{reason="SandboxProven"}': '',
      'gvisor_node_reason{reason="HandlerNotConfigured"}': always(1),
      gvisor_node_expected: always(0),
      gvisor_last_proof_timestamp_seconds: always(0),
    }),
    ...kube(labels, { [LABELLED]: '', [REFUSED]: always(1) }),
  };
}

/** What an agent says instead while its node is not ready for this reason. */
export function notReady(reason: string): Changes {
  return {
    'gvisor_node_status{status="True"}': `1x4 0x${MINUTES}`,
    'gvisor_node_reason{reason="SandboxProven"}': '1x4 stale',
    [`gvisor_node_reason{reason="${reason}"}`]: `_x4 1x${MINUTES}`,
  };
}

/** The label of a node that is not ready any more. */
export const WITHDRAWN: Changes = { [LABELLED]: '1x4 stale', [REFUSED]: `_x4 1x${MINUTES}` };

/** The same series, which end at this minute: their target is gone. */
export function endingAt(minute: number, series: Series): Series {
  const ended = Object.entries(series).map(([name, text]) => [name, `${firstOf(text)}x${minute} stale`]);
  return Object.fromEntries(ended);
}

/** The same series of an agent that stops to answer at this minute; its target stays. */
export function dyingAt(minute: number, series: Series): Series {
  const up = Object.keys(series).filter((name) => name.startsWith('up{'));
  const unanswered = up.map((name) => [name, `1x${minute} 0x${MINUTES - minute}`]);
  return { ...endingAt(minute, series), ...Object.fromEntries(unanswered) };
}

function firstOf(values: string): string {
  return values.replace(/x\d+$/, '');
}

function labelled(labels: string, values: Series): Series {
  const named = Object.entries(values).map(([metric, text]) => {
    const name = metric.endsWith('}') ? `${metric.slice(0, -1)}, ${labels}}` : `${metric}{${labels}}`;
    return [name, text];
  });
  return Object.fromEntries(named.filter(([, text]) => text !== ''));
}
