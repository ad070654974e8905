import type { Finding } from '../../../agent/finding.ts';
import { type Report, STARTING, type Transition } from '../../../agent/report.ts';

const AT = '2026-11-24T17:12:34.960Z';
const PROVEN = 'a sandbox of handler "runsc" booted gVisor\'s kernel 4.4.0 in 0.84 s';

const HISTORY: readonly Transition[] = [
  { status: 'True', reason: 'SandboxProven', message: PROVEN, at: '2026-11-24T09:41:07.312Z' },
  {
    status: 'False',
    reason: 'ShimNotFound',
    message: '"containerd-shim-runsc-v1" is not there in the PATH of containerd, process 812',
    at: '2026-11-24T09:38:52.047Z',
  },
  { status: 'True', reason: 'SandboxProven', message: PROVEN, at: '2026-11-21T06:02:11.580Z' },
];

const FINDINGS: readonly Finding[] = [
  {
    check: 'kernel',
    status: 'pass',
    message: 'Linux 6.12.41 on x64',
    evidence: [{ file: '/proc/sys/kernel/osrelease', value: '6.12.41' }, { value: 'x64' }],
    durationMs: 3.2,
  },
  {
    check: 'user-namespaces',
    status: 'pass',
    message: 'user.max_user_namespaces is 96365',
    evidence: [{ file: '/proc/sys/user/max_user_namespaces', value: '96365' }],
    durationMs: 2.9,
  },
  {
    check: 'containerd',
    status: 'pass',
    message: 'containerd v2.4.2',
    evidence: [{ value: 'RuntimeReady=true' }, { value: 'NetworkReady=true' }],
    durationMs: 14.1,
  },
  {
    check: 'handler-configured',
    status: 'pass',
    message: 'The handler "runsc" is configured',
    evidence: [{ file: '/etc/containerd/config.toml', line: 19, value: 'io.containerd.runsc.v1' }],
    durationMs: 26.5,
  },
  {
    check: 'handler-loaded',
    status: 'pass',
    message: 'containerd has loaded the handler "runsc"',
    evidence: [{ value: 'io.containerd.runsc.v1' }],
    durationMs: 11.9,
  },
  {
    check: 'handler-current',
    status: 'pass',
    message: 'The loaded handler "runsc" is the one on disk',
    evidence: [],
    durationMs: 26.6,
  },
  {
    check: 'handler-runtime',
    status: 'pass',
    message: 'The handler "runsc" runs gVisor’s shim',
    evidence: [{ value: 'runtime_type io.containerd.runsc.v1 (loaded)' }],
    durationMs: 46.2,
  },
  {
    check: 'shim',
    status: 'pass',
    message: 'containerd found and executed the shim of "io.containerd.runsc.v1"',
    evidence: [
      { file: '/usr/local/bin/containerd-shim-runsc-v1', value: 'executable' },
      {
        value:
          'the PATH of containerd, process 812: /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      },
    ],
    durationMs: 57.1,
  },
  {
    check: 'runsc',
    status: 'pass',
    message: 'runsc is "/usr/local/bin/runsc"',
    evidence: [{ file: '/usr/local/bin/runsc', value: 'executable by everyone' }],
    durationMs: 40.5,
  },
  {
    check: 'runsc-config',
    status: 'pass',
    message: 'The shim reads "/etc/containerd/runsc.toml"',
    evidence: [{ file: '/etc/containerd/runsc.toml', value: '1 flags' }],
    durationMs: 16.8,
  },
  {
    check: 'isolation',
    status: 'pass',
    message: 'No flag of runsc weakens the sandbox',
    evidence: [],
    durationMs: 26.4,
  },
  {
    check: 'runsc-release',
    status: 'pass',
    message: 'gVisor release-20260223.0',
    evidence: [{ file: '/usr/local/bin/runsc', value: 'runsc version release-20260223.0' }],
    durationMs: 74.5,
  },
  {
    check: 'sidecars',
    status: 'pass',
    message: 'gVisor release-20260223.0 needs no sidecars',
    evidence: [{ file: '/usr/local/bin/gvisor-bin', value: 'absent' }],
    durationMs: 84.9,
  },
];

/** A node where all is well: what the agent says on a real node of containerd 2.4.2. */
export const READY: Report = {
  version: '0.1.0',
  node: 'node-1',
  handler: 'runsc',
  verdict: { status: 'True', reason: 'SandboxProven', message: PROVEN },
  look: {
    verdict: { status: 'True', reason: 'SandboxProven', message: PROVEN },
    at: AT,
    trigger: 'timer',
    durationMs: 1537,
  },
  findings: FINDINGS,
  proof: { kind: 'proven', guestKernel: '4.4.0', bootMs: 836.57, teardownMs: 501.51, message: PROVEN },
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

const NO_SHIM = '"containerd-shim-runsc-v1" is not there in the PATH of containerd, process 812';
const NO_BOOT =
  'failed to create containerd task: failed to start shim: failed to resolve runtime path: runtime "io.containerd.runsc.v1" binary not installed "containerd-shim-runsc-v1": file does not exist';

/** The same node when somebody has removed the shim; an old release is a warning besides. */
export const BROKEN: Report = {
  ...READY,
  verdict: { status: 'False', reason: 'ShimNotFound', message: `${NO_SHIM}; ${NO_BOOT}` },
  look: {
    verdict: { status: 'False', reason: 'ShimNotFound', message: `${NO_SHIM}; ${NO_BOOT}` },
    at: '2026-11-24T17:20:03.118Z',
    trigger: 'file /usr/local/bin/containerd-shim-runsc-v1',
    durationMs: 412,
  },
  findings: FINDINGS.map((finding): Finding => {
    const { check, durationMs } = finding;
    if (check === 'shim')
      return {
        check,
        durationMs,
        status: 'fail',
        weight: 'explains',
        reason: 'ShimNotFound',
        message: NO_SHIM,
        evidence: [
          {
            value:
              'the PATH of containerd, process 812: /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
          },
        ],
      };
    if (check === 'runsc-release')
      return {
        check,
        durationMs,
        status: 'fail',
        weight: 'advises',
        reason: 'RunscTooOld',
        message: 'gVisor release-20231009.0 is older than release-20240325.0',
        evidence: [{ file: '/usr/local/bin/runsc', value: 'runsc version release-20231009.0' }],
      };
    if (check === 'sidecars')
      return {
        check,
        durationMs,
        status: 'unknown',
        reason: 'CheckTimedOut',
        message: 'The check did not end within 5000 ms',
      };
    return finding;
  }),
  proof: { kind: 'failed', reason: 'ShimNotFound', message: NO_BOOT },
  history: [
    {
      status: 'False',
      reason: 'ShimNotFound',
      message: `${NO_SHIM}; ${NO_BOOT}`,
      at: '2026-11-24T17:20:03.118Z',
    },
    ...HISTORY,
  ],
};

const UNREACHABLE = {
  status: 'Unknown',
  reason: 'ContainerdUnreachable',
  message: 'containerd does not answer on "/run/containerd/containerd.sock"',
} as const;

const { provenAt: _, ...NEVER_PROVEN } = READY;

/** A node of which nothing has been published: the only look so far could not see. */
export const UNSEEN: Report = {
  ...NEVER_PROVEN,
  verdict: STARTING,
  look: { verdict: UNREACHABLE, at: AT, trigger: 'start', durationMs: 20 },
  findings: FINDINGS.map(({ check, durationMs }) => ({
    check,
    durationMs,
    ...UNREACHABLE,
    status: 'unknown',
  })),
  proof: { kind: 'impossible', reason: UNREACHABLE.reason, message: UNREACHABLE.message },
  facts: {},
  history: [],
};

const EVIL = `</title></style></script>"onmouseover='pwned=1'<script>alert(1)</script><img src=x onerror="pwned=1"><b>&amp;`;
const EVIL_WORD = `${'x'.repeat(400)}<img src=x onerror="pwned=1">`;

/** A broken node whose containerd, files and name say nothing but markup, and words that do not end. */
export const HOSTILE: Report = {
  ...BROKEN,
  version: EVIL,
  node: EVIL,
  handler: EVIL,
  verdict: { ...BROKEN.verdict, message: EVIL },
  look: { ...BROKEN.look, verdict: { ...UNREACHABLE, message: EVIL_WORD }, at: EVIL, trigger: EVIL },
  findings: [
    ...BROKEN.findings,
    {
      check: EVIL,
      durationMs: 1,
      status: 'fail',
      weight: 'explains',
      reason: 'CheckFailed',
      message: EVIL_WORD,
      evidence: [{ file: EVIL, line: 1, value: EVIL }, { value: EVIL_WORD }],
    },
  ],
  proof: { kind: 'stuck', reason: 'SandboxStuck', message: EVIL_WORD },
  provenAt: EVIL,
  facts: { kernel: EVIL, os: EVIL_WORD, [EVIL]: EVIL, [EVIL_WORD]: EVIL_WORD },
  history: [
    { status: 'Unknown', reason: 'CheckFailed', message: EVIL, at: EVIL },
    { status: 'False', reason: 'CheckFailed', message: EVIL_WORD, at: EVIL_WORD },
  ],
};
