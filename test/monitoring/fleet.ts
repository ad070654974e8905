/** promtool series: values in its notation, one a minute, by name with labels. */
export type Series = Readonly<Record<string, string>>;

/** Differences from a healthy node: values by metric; an empty string removes the series. */
export type Changes = Readonly<Record<string, string>>;

/** Duration of the tests. */
export const MINUTES = 60;

export const always = (value: number) => `${value}x${MINUTES}`;
/** A timestamp that advances. */
const TICKING = `0+60x${MINUTES}`;

const AGENT = {
  'up{job="gvisor-ready-agent"}': always(1),
  'gvisor_ready_node_status{status="True"}': always(1),
  'gvisor_ready_node_reason{reason="SandboxProven"}': always(1),
  gvisor_ready_node_expected: always(1),
  gvisor_ready_time_seconds: TICKING,
  gvisor_ready_last_proof_timestamp_seconds: TICKING,
  gvisor_ready_proof_interval_seconds: always(600),
  gvisor_ready_pods_last_seen_timestamp_seconds: TICKING,
  gvisor_ready_namespaces_last_update_timestamp_seconds: TICKING,
  gvisor_ready_sandboxes_last_scan_timestamp_seconds: TICKING,
  gvisor_ready_unknown_pods: always(0),
  gvisor_ready_unsandboxed_pods: always(0),
} as const;

/** The labels of the agents' DaemonSet. */
export const DAEMON_SET = '{namespace="gvisor-ready", daemonset="gvisor-ready-agent"}';
/** The agent's pod of a node, as kube-state-metrics names it. */
const POD_INFO =
  'kube_pod_info{namespace="gvisor-ready", created_by_kind="DaemonSet", created_by_name="gvisor-ready-agent"}';
const LABELLED = 'kube_node_labels{label_gvisor_node_restriction_kubernetes_io_ready="true"}';
const REFUSED = 'kube_node_labels{label_gvisor_node_restriction_kubernetes_io_ready="false"}';
const NODE_READY = 'kube_node_status_condition{condition="Ready", status="true"}';

const KUBE = {
  kube_node_info: always(1),
  [LABELLED]: always(1),
  [NODE_READY]: always(1),
  kube_node_spec_unschedulable: always(0),
  [POD_INFO]: always(1),
  gvisor_ready_fleet_node_labelled: always(1),
};

/** The metrics of an agent with changes and labels. */
export function agent(labels: string, changes: Changes = {}): Series {
  return labelled(labels, { ...AGENT, ...changes });
}

/** What kube-state-metrics and the fleet controller say of a node, with changes and labels. */
export function kube(labels: string, changes: Changes = {}): Series {
  return labelled(labels, { ...KUBE, ...changes });
}

const CONTROLLER = {
  gvisor_ready_fleet_watches_up: always(1),
  gvisor_ready_fleet_agents_missing: always(0),
  gvisor_ready_fleet_paused_withdrawals: always(0),
  gvisor_ready_fleet_withdrawals_total: always(0),
  gvisor_ready_fleet_oldest_proof_timestamp_seconds: always(600),
};

/** The metrics of a fleet controller with changes and labels. */
export function controller(labels: string, changes: Changes = {}): Series {
  return labelled(labels, { ...CONTROLLER, ...changes });
}

/** A node where gVisor was never installed, such as a control plane. */
export function nodeWithoutGvisor(labels: string): Series {
  return {
    ...agent(labels, {
      'gvisor_ready_node_status{status="True"}': always(0),
      'gvisor_ready_node_reason{reason="SandboxProven"}': '',
      'gvisor_ready_node_reason{reason="HandlerNotConfigured"}': always(1),
      gvisor_ready_node_expected: always(0),
      gvisor_ready_last_proof_timestamp_seconds: always(0),
    }),
    ...kube(labels, { [LABELLED]: '', [REFUSED]: always(1), gvisor_ready_fleet_node_labelled: always(0) }),
  };
}

/** The changes in kube-state-metrics and the fleet controller when a label is withdrawn. */
export const WITHDRAWN: Changes = {
  [LABELLED]: '1x4 stale',
  [REFUSED]: `_x4 1x${MINUTES}`,
  gvisor_ready_fleet_node_labelled: `1x4 0x${MINUTES}`,
};

/** The series until their target disappears at `minute`. */
export function endingAt(minute: number, series: Series): Series {
  const ended = Object.entries(series).map(([name, text]) => [name, `${firstOf(text)}x${minute} stale`]);
  return Object.fromEntries(ended);
}

/** The series of an agent that stops responding at `minute`, with its target still there. */
export function failingAt(minute: number, series: Series): Series {
  const up = Object.keys(series).filter((name) => name.startsWith('up{'));
  const failed = up.map((name) => [name, `1x${minute} 0x${MINUTES - minute}`]);
  return { ...endingAt(minute, series), ...Object.fromEntries(failed) };
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
