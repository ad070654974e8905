import type { Finding } from '../../../agent/checks/finding.ts';

/** Findings of all checks on a real, proven node with containerd 2.4.2. */
export const FINDINGS: readonly Finding[] = [
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
    message: 'The handler "runsc" runs gVisor\'s shim',
    evidence: [{ value: 'runtime_type io.containerd.runsc.v1 (loaded)' }],
    durationMs: 46.2,
  },
  {
    check: 'shim',
    status: 'pass',
    message: 'containerd found and executed the shim of "io.containerd.runsc.v1"',
    evidence: [
      { file: '/usr/local/bin/containerd-shim-runsc-v1', value: 'executable' },
      { value: 'looked in /usr/local/bin /usr/local/sbin /usr/sbin /usr/bin /sbin /bin' },
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
    check: 'sidecars',
    status: 'pass',
    message: 'gVisor release-20260223.0 needs no sidecars',
    evidence: [{ file: '/usr/local/bin/gvisor-bin', value: 'absent' }],
    durationMs: 84.9,
  },
  {
    check: 'isolation',
    status: 'pass',
    message: 'No flag in force weakens the sandbox',
    evidence: [{ value: 'process 189 "runsc-sandbox", with a seccomp filter' }],
    durationMs: 26.4,
  },
  {
    check: 'limits',
    status: 'pass',
    message: 'The sandbox lies in /kubepods/gvisor_ready',
    evidence: [
      { value: 'asked for /kubepods/gvisor_ready' },
      { value: 'process 189 is in /kubepods/gvisor_ready/1f' },
    ],
    durationMs: 0.4,
  },
  {
    check: 'runsc-release',
    status: 'pass',
    message: 'gVisor release-20260223.0',
    evidence: [{ file: '/usr/local/bin/runsc', value: 'release-20260223.0' }],
    durationMs: 74.5,
  },
];

export const NO_SHIM = '"/usr/local/bin/containerd-shim-runsc-v1" is not there';

/** The same checks without the shim; an old release is a warning, and one check has not ended. */
export const BROKEN_FINDINGS: readonly Finding[] = FINDINGS.map((finding): Finding => {
  const { check, durationMs } = finding;
  if (check === 'shim')
    return {
      check,
      durationMs,
      status: 'fail',
      severity: 'error',
      reason: 'ShimNotFound',
      message: NO_SHIM,
      evidence: [{ value: 'runtime_path /usr/local/bin/containerd-shim-runsc-v1' }],
    };
  if (check === 'runsc-release')
    return {
      check,
      durationMs,
      status: 'fail',
      severity: 'warning',
      reason: 'RunscTooOld',
      message: 'gVisor release-20231009.0 is older than release-20240325.0',
      evidence: [{ file: '/usr/local/bin/runsc', value: 'release-20231009.0' }],
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
});
