import { error, unknown } from '../../../lib/node/checks/finding.ts';
import type { Report, Transition } from '../../../lib/report/report.ts';
import { STARTING } from '../../../lib/report/verdict.ts';
import { witnessOf } from '../../lib/node/checks/fake-node.ts';
import { BROKEN_FINDINGS, FINDINGS, NO_SHIM, SHIM } from './sample-findings.ts';

const AT = '2026-11-24T17:12:34.960Z';
const PROVEN = 'a sandbox of handler "runsc" booted in gVisor in 0.84 s';

const PROVEN_VERDICT = { status: 'True', reason: 'SandboxProven', message: PROVEN } as const;

const HISTORY: readonly Transition[] = [
  { ...PROVEN_VERDICT, at: '2026-11-24T09:41:07.312Z' },
  { status: 'False', reason: 'ShimNotFound', message: NO_SHIM, at: '2026-11-24T09:38:52.047Z' },
  { ...PROVEN_VERDICT, at: '2026-11-21T06:02:11.580Z' },
];

/** The report of a real, proven node with containerd 2.4.2. */
export const HEALTHY: Report = {
  version: '0.1.0',
  node: 'node-1',
  handler: 'runsc',
  verdict: PROVEN_VERDICT,
  evaluation: { verdict: PROVEN_VERDICT, at: AT, trigger: 'timer', durationMs: 1537 },
  findings: FINDINGS,
  proof: { kind: 'proven', witness: witnessOf(), bootMs: 836.57, teardownMs: 501.51, message: PROVEN },
  provenAt: AT,
  facts: {
    distribution: 'containerd',
    architecture: 'x64',
    kernel: '6.12.41',
    os: 'Debian GNU/Linux 12 (bookworm)',
    cpu: 'AMD EPYC',
    cores: '2',
    virtualization: 'false',
    memoryBytes: '25276502016',
    containerd: 'v2.4.2',
    runsc: 'release-20260223.0',
    platform: 'systrap',
  },
  history: HISTORY,
};

const NO_BOOT =
  'failed to create containerd task: failed to start shim: failed to resolve runtime path: runtime "io.containerd.runsc.v1" binary not installed "containerd-shim-runsc-v1": file does not exist';
const BROKEN_VERDICT = {
  status: 'False',
  reason: 'ShimNotFound',
  message: `${NO_SHIM}; ${NO_BOOT}`,
} as const;
const BROKEN_AT = '2026-11-24T17:20:03.118Z';

/** The same node without the shim; an old release is a warning. */
export const BROKEN: Report = {
  ...HEALTHY,
  verdict: BROKEN_VERDICT,
  evaluation: { verdict: BROKEN_VERDICT, at: BROKEN_AT, trigger: `file ${SHIM}`, durationMs: 412 },
  findings: BROKEN_FINDINGS,
  proof: { kind: 'failed', reason: 'ShimNotFound', message: NO_BOOT },
  history: [{ ...BROKEN_VERDICT, at: BROKEN_AT }, ...HISTORY],
};

const UNREACHABLE = {
  status: 'Unknown',
  reason: 'ContainerdUnreachable',
  message: 'containerd does not answer on "/run/containerd/containerd.sock"',
} as const;
const { reason, message } = UNREACHABLE;

const { provenAt: _, ...NEVER_PROVEN } = HEALTHY;

/** A node without a published verdict, whose only evaluation was Unknown. */
export const UNPUBLISHED: Report = {
  ...NEVER_PROVEN,
  verdict: STARTING,
  evaluation: { verdict: UNREACHABLE, at: AT, trigger: 'start', durationMs: 20 },
  findings: FINDINGS.map(({ check, durationMs }) => ({ ...unknown(reason, message), check, durationMs })),
  proof: { kind: 'inconclusive', reason, message },
  facts: {},
  history: [],
};

const EVIL = `</title></style></script>"onmouseover='pwned=1'<script>alert(1)</script><img src=x onerror="pwned=1"><b>&amp;`;
const EVIL_WORD = `${'x'.repeat(400)}<img src=x onerror="pwned=1">`;
const EVIL_EVIDENCE = [{ file: EVIL, line: 1, value: EVIL }, { value: EVIL_WORD }];

/** A broken node whose texts are all markup or endless words. */
export const HOSTILE: Report = {
  ...BROKEN,
  version: EVIL,
  node: EVIL,
  handler: EVIL,
  verdict: { ...BROKEN_VERDICT, message: EVIL },
  evaluation: { verdict: { ...UNREACHABLE, message: EVIL_WORD }, at: EVIL, trigger: EVIL, durationMs: 412 },
  findings: [
    ...BROKEN.findings,
    { ...error('CheckFailed', EVIL_WORD, EVIL_EVIDENCE), check: EVIL, durationMs: 1 },
  ],
  proof: { kind: 'stuck', reason: 'SandboxStuck', message: EVIL_WORD },
  provenAt: EVIL,
  facts: { kernel: EVIL, os: EVIL_WORD, [EVIL]: EVIL, [EVIL_WORD]: EVIL_WORD },
  history: [
    { status: 'Unknown', reason: 'CheckFailed', message: EVIL, at: EVIL },
    { status: 'False', reason: 'CheckFailed', message: EVIL_WORD, at: EVIL_WORD },
  ],
};
