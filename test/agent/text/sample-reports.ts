import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPO } from '../../../hack/paths.ts';
import { type CheckResult, error, type Finding, unknown, warning } from '../../../lib/checks/finding.ts';
import type { Report, Status } from '../../../lib/report/report.ts';
import { STARTING } from '../../../lib/report/verdict.ts';

/** A report of a real agent (test/pictures/record-reports.ts), or the one that is healthy. */
export function recorded(name: string): Status {
  return JSON.parse(readFileSync(join(REPO, `test/fixtures/reports/${name}.json`), 'utf8')) as Status;
}

/** The report of a real, proven node with containerd 2.4.2. */
export const HEALTHY: Report = recorded('healthy');

const SHIM = '/usr/local/bin/containerd-shim-runsc-v1';
const NO_SHIM = `"${SHIM}" is not there`;

/** The findings of {@link HEALTHY} in which some checks have other results. */
export function findingsWith(results: Readonly<Record<string, CheckResult>>): readonly Finding[] {
  return HEALTHY.findings.map((finding) => {
    const { check, durationMs } = finding;
    const result = results[check];
    return result === undefined ? finding : { ...result, check, durationMs };
  });
}

const NO_BOOT =
  'failed to create containerd task: failed to start shim: failed to resolve runtime path: runtime "io.containerd.runsc.v1" binary not installed "containerd-shim-runsc-v1": file does not exist';
const BROKEN_VERDICT = {
  status: 'False',
  reason: 'ShimNotFound',
  message: `${NO_SHIM}; ${NO_BOOT}`,
} as const;
const BROKEN_AT = '2026-11-24T17:20:03.118Z';

/** The same node without the shim; an old release is a warning, and one check has not ended. */
export const BROKEN: Report = {
  ...HEALTHY,
  verdict: BROKEN_VERDICT,
  evaluation: { verdict: BROKEN_VERDICT, at: BROKEN_AT, trigger: `file ${SHIM}`, durationMs: 412 },
  findings: findingsWith({
    shim: error('ShimNotFound', NO_SHIM, [{ value: `runtime_path ${SHIM}` }]),
    'runsc-release': warning('RunscTooOld', 'gVisor release-20231009.0 is older than release-20240325.0', [
      { file: '/usr/local/bin/runsc', value: 'release-20231009.0' },
    ]),
    sidecars: unknown('CheckTimedOut', 'The check did not end within 5000 ms'),
  }),
  proof: { kind: 'failed', reason: 'ShimNotFound', message: NO_BOOT },
  history: [{ ...BROKEN_VERDICT, at: BROKEN_AT }, ...HEALTHY.history],
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
  evaluation: { verdict: UNREACHABLE, at: BROKEN_AT, trigger: 'start', durationMs: 20 },
  findings: HEALTHY.findings.map(({ check, durationMs }) => ({
    ...unknown(reason, message),
    check,
    durationMs,
  })),
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
