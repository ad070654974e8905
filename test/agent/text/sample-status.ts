import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPO } from '../../../hack/paths.ts';
import { error, warning } from '../../../lib/node/checks/finding.ts';
import type { Pod } from '../../../lib/node/pods/pod.ts';
import type { NodeWrites } from '../../../lib/report/node-object.ts';
import type { Status } from '../../../lib/report/report.ts';
import type { Verdict } from '../../../lib/report/verdict.ts';
import { findingsWith } from './sample-findings.ts';
import { HEALTHY } from './sample-reports.ts';

const DOMAIN = 'gvisor.node-restriction.kubernetes.io';

function writtenOf({ status, reason, message }: Verdict, lastTransitionTime: string): NodeWrites {
  const type = 'GVisorReady';
  return {
    labels: {
      [`${DOMAIN}/ready`]: String(status === 'True'),
      [`${DOMAIN}/runsc-version`]: 'release-20260223.0',
      [`${DOMAIN}/platform`]: 'systrap',
    },
    tainted: false,
    condition: { type, status, reason, message, lastHeartbeatTime: lastTransitionTime, lastTransitionTime },
  };
}

function pod(namespace: string, name: string, pid: number, handler = ''): Pod {
  const uid = `${namespace}-${name}`;
  return { namespace, name, uid, handler, sandboxed: false, evidence: `process ${pid} is "/pause"` };
}

/** Reports of a real agent on the test cluster (test/pictures/record-reports.ts). */
export const SAMPLES = {
  proven: recorded('proven'),
  failing: recorded('failing'),
  outside: recorded('outside'),
} as const;

function recorded(name: string): Status {
  return JSON.parse(readFileSync(join(REPO, `test/fixtures/reports/${name}.json`), 'utf8')) as Status;
}

const AT = '2026-11-24T17:20:03.118Z';
/** The error of a real containerd 2.4.2 without runsc; each attempt has another sandbox id. */
const errorOf = (id: string) =>
  `failed to start sandbox "${id}": failed to create containerd task: failed to create shim task: OCI runtime create failed: exec: "runsc": executable file not found in $PATH (unable to retrieve OCI runtime error: open /run/containerd/io.containerd.runtime.v2.task/k8s.io/${id}/log.json: no such file or directory)`;
const FIRST = '531b6dbf3e2161151b0c81598dec490878574a0bd43810d6939394f314193f00';
const SECOND = 'c04f1a7be95d4d6f8e2071c3b5a9d8e6f70412233445566778899aabbccddeef';
const NO_RUNSC = '"runsc" is in no directory of containerd\'s PATH';
const PATH = '/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin';
const broken = (id: string) =>
  ({ status: 'False', reason: 'RunscNotFound', message: `${NO_RUNSC}; ${errorOf(id)}` }) as const;

/** A node without runsc, whose cause a check knows, with a second remedy. */
export const EXPLAINED: Status = {
  ...HEALTHY,
  verdict: broken(FIRST),
  evaluation: { verdict: broken(SECOND), at: AT, trigger: 'file /usr/local/bin/runsc', durationMs: 412 },
  findings: findingsWith({
    runsc: error('RunscNotFound', NO_RUNSC, [{ value: `looked in ${PATH}` }]),
    'handler-current': warning('RestartPending', 'The handler "runsc" was edited after containerd started', [
      { file: '/etc/containerd/config.toml', line: 22, value: 'ConfigPath' },
    ]),
  }),
  proof: { kind: 'failed', reason: 'RunscNotFound', message: errorOf(SECOND) },
  history: [
    { ...broken(FIRST), at: AT },
    ...HEALTHY.history.slice(0, 1),
    { ...broken(FIRST.replaceAll('5', '9')), at: '2026-11-24T09:38:52.047Z' },
    ...HEALTHY.history.slice(2),
  ],
  ...(SAMPLES.proven.pods === undefined ? {} : { pods: SAMPLES.proven.pods }),
  nodeWrites: writtenOf(broken(FIRST), '2026-11-24T17:20:03Z'),
};

/** A node with more pods outside gVisor than a report lists. */
export const FLOODED: Status = {
  ...SAMPLES.outside,
  pods: {
    at: '2026-11-24T17:20:05.004Z',
    stale: false,
    running: 110,
    requirementsKnown: true,
    violating: Array.from({ length: 50 }, (_, index) => pod('eval', `plain-${index}`, 3000 + index)),
    permitted: Array.from({ length: 60 }, (_, index) => pod('kube-system', `daemon-${index}`, 4000 + index)),
    unknown: [],
    weakened: [],
    sandboxedUids: [],
  },
};
