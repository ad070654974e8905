import type { Reason } from '../../lib/base/reasons.ts';
import { error, pass } from '../../lib/checks/finding.ts';
import type { HandlerReport, Status } from '../../lib/report/report.ts';
import type { SandboxesReport, SandboxReason } from '../../lib/sandboxes/problem.ts';
import { finding, reportOf, unproven, verdictOf } from '../agent/reports.ts';

/** The domain of the agents' labels. */
export const LABEL_DOMAIN = 'gvisor.node-restriction.kubernetes.io';

/** States for {@link nodeObject}: no agent has judged the node, or its shim is gone. */
export const UNJUDGED = { ready: '', status: '' };
export const BROKEN = { ready: 'false', status: 'False', reason: 'ShimNotFound' };

/** A Node with the label and the condition of an agent; proven by default. */
export function nodeObject(
  name: string,
  state: {
    readonly ready?: string;
    readonly status?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly spec?: object;
    readonly runtime?: string;
    readonly expected?: boolean;
    readonly alive?: boolean;
  } = {},
) {
  const {
    ready = 'true',
    status = 'True',
    reason = 'SandboxProven',
    message = 'booted',
    runtime = 'containerd://2.4.2',
    expected = true,
    alive = true,
  } = state;
  const judged = { [`${LABEL_DOMAIN}/ready`]: ready, [`${LABEL_DOMAIN}/expected`]: String(expected) };
  const installed = {
    [`${LABEL_DOMAIN}/runsc-version`]: 'release-20260223.0',
    [`${LABEL_DOMAIN}/platform`]: 'systrap',
  };
  const own = { type: 'GVisorReady', status, reason, message, lastTransitionTime: '2026-03-01T11:55:00Z' };
  return {
    metadata: {
      name,
      resourceVersion: '7',
      labels: {
        'kubernetes.io/hostname': name,
        ...(ready !== '' && judged),
        ...(ready !== '' && expected && installed),
      },
      annotations: ready === 'true' ? { [`${LABEL_DOMAIN}/proven-by`]: '0.1.0+84c18f33' } : {},
    },
    spec: state.spec ?? {},
    status: {
      conditions: [{ type: 'Ready', status: alive ? 'True' : 'Unknown' }, ...(status === '' ? [] : [own])],
      nodeInfo: {
        kubeletVersion: 'v1.36.3',
        containerRuntimeVersion: runtime,
        operatingSystem: 'linux',
        architecture: 'amd64',
      },
    },
  };
}

/** A Node with the label `ready-H` of an additional handler, which was proven in a boot. */
export function withHandler(
  node: ReturnType<typeof nodeObject>,
  handler: string,
  ready: string,
  everProven = true,
) {
  const { metadata } = node;
  const labels = { ...metadata.labels, [`${LABEL_DOMAIN}/ready-${handler}`]: ready };
  const proven = everProven ? { [`${LABEL_DOMAIN}/proven-boot-${handler}`]: 'boot-1' } : {};
  return { ...node, metadata: { ...metadata, labels, annotations: { ...metadata.annotations, ...proven } } };
}

/** What an agent reports of the additional handler runsc-kvm; proven by default. */
export function kvmReport(changes: Partial<HandlerReport> = {}): HandlerReport {
  const { verdict, evaluation, findings, proof, facts } = reportOf(changes);
  const [handler, provenAt] = ['runsc-kvm', '2026-03-01T11:57:00Z'];
  return { handler, verdict, evaluation, findings, proof, provenAt, facts, history: [], ...changes };
}

/** {@link kvmReport} of a node where the handler is broken for a quarter of an hour. */
export function brokenKvm(reason: Reason = 'SandboxFailed', message = 'cannot open /dev/kvm'): HandlerReport {
  const verdict = { ...verdictOf('False', reason), message };
  return kvmReport({
    verdict,
    findings: [finding(error(reason, message, [{ file: '/dev/kvm', value: 'ENOENT' }]), 'kvm')],
    proof: unproven('failed', reason),
    history: [{ ...verdict, at: '2026-03-01T11:45:00Z' }],
  });
}

/** The pod of a node's agent. */
export function agentObject(
  node: string,
  state: { readonly ready?: boolean; readonly waiting?: string; readonly message?: string } = {},
) {
  const { ready = true, waiting, message = '' } = state;
  return {
    metadata: {
      name: `agent-${node}`,
      namespace: 'gvisor-ready',
      ownerReferences: [{ kind: 'DaemonSet', name: 'gvisor-ready-agent', controller: true }],
    },
    spec: {
      nodeName: node,
      containers: [
        { image: 'localhost/gvisor-ready:0.1.0', ports: [{ name: 'metrics', containerPort: 9477 }] },
      ],
    },
    status: {
      phase: waiting === undefined ? 'Running' : 'Pending',
      conditions: [{ type: 'Ready', status: ready && waiting === undefined ? 'True' : 'False' }],
      containerStatuses: [
        { state: waiting === undefined ? { running: {} } : { waiting: { reason: waiting, message } } },
      ],
    },
  };
}

/** A running pod of the namespace `eval`. */
export function podObject(name: string, spec: object = {}, status: object = { phase: 'Running' }) {
  return {
    metadata: { name, namespace: 'eval', uid: `uid-${name}` },
    spec: { nodeName: 'node-1', ...spec },
    status,
  };
}

/** A report with pods of the namespace `eval`: in gVisor, outside it, or with a way out to the host. */
export function agentStatus(
  node: string,
  pods: Readonly<Partial<Record<'inside' | 'outside' | 'open', readonly string[]>>> = {},
  changes: Partial<Status> = {},
): Status {
  const podsOf = (names: readonly string[] = [], handler: string, evidence: string) =>
    names.map((name) => ({
      namespace: 'eval',
      name,
      uid: `uid-${name}`,
      handler,
      sandboxed: handler !== '',
      evidence,
    }));
  const why = 'pods can open Unix sockets';
  const open = podsOf(pods.open, 'runsc', `process 813 is "runsc-sandbox" with host-uds=all: ${why}`);
  const weak = [{ flag: 'host-uds', value: 'all', severity: 'blocker', why }] as const;
  return {
    ...reportOf({
      node,
      evaluation: { ...reportOf(changes).evaluation, at: '2026-03-01T11:59:30Z' },
      provenAt: '2026-03-01T11:58:00Z',
    }),
    pods: {
      at: '2026-03-01T11:59:58Z',
      stale: false,
      running: 1,
      requirementsKnown: true,
      violating: podsOf(pods.outside, '', 'process 812 is "/pause"'),
      permitted: [],
      unknown: [],
      unknownRequired: 0,
      weakened: open.map((pod) => ({ ...pod, weak })),
      sandboxedUids: [...(pods.inside ?? []), ...(pods.open ?? [])].map((name) => `uid-${name}`),
    },
    sandboxes: sandboxesOf(),
    ...changes,
  };
}

/** A problem of a pod of `eval`. */
export type PodProblem = readonly [pod: string, reason: SandboxReason];

/** Problems, with PIDs from 900; containerd must not restart if there is one. */
export function sandboxesOf(...problems: readonly PodProblem[]): SandboxesReport {
  return {
    at: '2026-03-01T11:59:58Z',
    stale: false,
    problems: problems.map(([name, reason], at) => ({
      reason,
      message: `seen ${reason}`,
      namespace: 'eval',
      name,
      uid: `uid-${name}`,
      sandbox: 'c0ffee'.padEnd(64, '0'),
      pids: [900 + at],
      since: '2026-03-01T11:48:00Z',
      ageSeconds: 3_600,
    })),
    total: problems.length,
    restart:
      problems.length === 0
        ? { state: 'safe', because: [] }
        : { state: 'unsafe', because: ['a shim does not answer'] },
  };
}

/** The report of a node whose shim is gone, while its agent cannot write to the API server. */
export function cutOff(node: string): Status {
  const problem = `PATCH /api/v1/nodes/${node}/status: 401 Unauthorized`;
  return { ...brokenStatus(node), nodeWrites: { problem } };
}

/** The report of a node whose shim is gone. */
export function brokenStatus(node: string): Status {
  const message =
    'containerd does not find the shim of "io.containerd.runsc.v1": failed to run [/usr/local/bin/containerd-shim-runsc-v1 -info]';
  const verdict = verdictOf('False', 'ShimNotFound');
  const missing = 'there is no containerd-shim-runsc-v1 in the usual directories';
  const value = 'runtime_type = "io.containerd.runsc.v1"';
  const evidence = { file: '/etc/containerd/config.toml', line: 12, value };
  return agentStatus(
    node,
    {},
    {
      verdict: { ...verdict, message },
      findings: [
        finding(pass('Linux 6.8.0 on x64'), 'kernel'),
        finding(pass('containerd 2.4.2 is ready'), 'containerd'),
        finding(error('ShimNotFound', missing, [evidence]), 'shim'),
      ],
      proof: unproven('failed', 'ShimNotFound'),
    },
  );
}
