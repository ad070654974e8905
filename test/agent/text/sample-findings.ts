import {
  type CheckResult,
  type Evidence,
  error,
  type Finding,
  skip,
  unknown,
  warning,
} from '../../../lib/node/checks/finding.ts';

const passed = (check: string, message: string, durationMs: number, ...evidence: Evidence[]): Finding => ({
  check,
  status: 'pass',
  message,
  evidence,
  durationMs,
});

export const SHIM = '/usr/local/bin/containerd-shim-runsc-v1';
const RUNSC = '/usr/local/bin/runsc';
const TYPE = 'io.containerd.runsc.v1';
const USER_NAMESPACES = { file: '/proc/sys/user/max_user_namespaces', value: '96365' };
const LOOKED_IN = 'looked in /usr/local/bin /usr/local/sbin /usr/sbin /usr/bin /sbin /bin';

/** Findings of all checks on a real, proven node with containerd 2.4.2. */
// biome-ignore format: one finding a line
export const FINDINGS: readonly Finding[] = [
  passed('kernel', 'Linux 6.12.41 on x64', 3.2, { file: '/proc/sys/kernel/osrelease', value: '6.12.41' }, { value: 'x64' }),
  passed('user-namespaces', 'user.max_user_namespaces is 96365', 2.9, USER_NAMESPACES),
  passed('containerd', 'containerd v2.4.2', 14.1, { value: 'RuntimeReady=true' }, { value: 'NetworkReady=true' }),
  passed('handler-configured', 'The handler "runsc" is configured', 26.5, { file: '/etc/containerd/config.toml', line: 19, value: TYPE }),
  passed('handler-loaded', 'containerd has loaded the handler "runsc"', 11.9, { value: TYPE }),
  passed('handler-current', 'The loaded handler "runsc" is the one on disk', 26.6),
  passed('handler-runtime', 'The handler "runsc" runs gVisor\'s shim', 46.2, { value: `runtime_type ${TYPE} (loaded)` }),
  passed('shim', `containerd found and executed the shim of "${TYPE}"`, 57.1, { file: SHIM, value: 'executable' }, { value: LOOKED_IN }),
  passed('runsc', `runsc is "${RUNSC}"`, 40.5, { file: RUNSC, value: 'executable by everyone' }),
  passed('runsc-config', 'The shim reads "/etc/containerd/runsc.toml"', 16.8, { file: '/etc/containerd/runsc.toml', value: '1 flags' }),
  passed('sidecars', 'gVisor release-20260223.0 needs no sidecars', 84.9, { file: '/usr/local/bin/gvisor-bin', value: 'absent' }),
  { check: 'kvm', ...skip("The shim's configuration does not set the platform kvm"), durationMs: 0.1 },
  passed('isolation', 'No flag in force weakens the sandbox', 26.4, { value: 'process 189 "runsc-sandbox", with a seccomp filter' }),
  passed('limits', 'The sandbox lies in /kubepods/gvisor_ready', 0.4, { value: 'asked for /kubepods/gvisor_ready' }, { value: 'process 189 is in /kubepods/gvisor_ready/1f' }),
  passed('runsc-release', 'gVisor release-20260223.0', 74.5, { file: RUNSC, value: 'release-20260223.0' }),
  passed('gpu', 'gVisor release-20260223.0 supports NVIDIA driver 580.126.09', 0.6, { file: '/proc/driver/nvidia/version', value: '580.126.09' }),
];

export const NO_SHIM = `"${SHIM}" is not there`;

/** {@link FINDINGS} in which some checks have other results. */
export function findingsWith(results: Readonly<Record<string, CheckResult>>): readonly Finding[] {
  return FINDINGS.map((finding) => {
    const { check, durationMs } = finding;
    const result = results[check];
    return result === undefined ? finding : { ...result, check, durationMs };
  });
}

/** The same checks without the shim; an old release is a warning, and one check has not ended. */
export const BROKEN_FINDINGS: readonly Finding[] = findingsWith({
  shim: error('ShimNotFound', NO_SHIM, [{ value: `runtime_path ${SHIM}` }]),
  'runsc-release': warning('RunscTooOld', 'gVisor release-20231009.0 is older than release-20240325.0', [
    { file: RUNSC, value: 'release-20231009.0' },
  ]),
  sidecars: unknown('CheckTimedOut', 'The check did not end within 5000 ms'),
});
