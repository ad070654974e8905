import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { outcomeOfError, outcomeOfKvm } from '../../../../lib/node/proof/outcome.ts';
import type { Reason } from '../../../../lib/node/reasons.ts';

const V1_SHIM =
  'failed to create containerd task: failed to start shim: failed to resolve runtime path: runtime "io.containerd.runsc.v1" binary not installed "containerd-shim-runsc-v1": file does not exist: unknown';

/** The text of gVisor 2025-02, 2026-02 and 2026-09 for a device that runsc could not open, as containerd 2.4 returns it. */
const kvmDevice = (path: string, why: string) =>
  `failed to start sandbox "1f": failed to create containerd task: failed to create shim task: OCI runtime create failed: creating container: cannot create sandbox: cannot create sandbox process: opening device file for platform "kvm": error opening KVM device file (${path}): ${why}`;

const SENTRY_ENDED =
  'failed to start sandbox "1f": failed to create containerd task: failed to create shim task: OCI runtime create failed: creating container: cannot create sandbox: cannot read client sync file: waiting for sandbox to start: EOF';

const FAILED: Readonly<Partial<Record<Reason, readonly string[]>>> = {
  HandlerNotLoaded: [
    'failed to get sandbox runtime: no runtime for "runsc" is configured',
    'unable to get OCI runtime for sandbox "1f": no runtime for "runsc" is configured',
    'RuntimeHandler "runsc" not supported',
    'failed to find runtime handler "runsc"',
  ],
  ShimNotFound: [
    V1_SHIM,
    `failed to start sandbox "1f": ${V1_SHIM}`,
    'failed to start sandbox "1f": failed to create containerd task: invalid custom binary path: stat /opt/gvisor/containerd-shim-runsc-v1: no such file or directory',
    'failed to start shim: start failed: exec: "containerd-shim-runsc-v1": executable file not found in $PATH',
    'failed to create containerd task: failed to start shim: start failed: : fork/exec /usr/local/bin/containerd-shim-runsc-v1: no such file or directory: unknown',
    'failed to start shim: exec: "/opt/containerd-shim-runsc-v1": stat /opt/containerd-shim-runsc-v1: no such file or directory',
  ],
  ShimNotExecutable: [
    'failed to start shim: fork/exec /usr/local/bin/containerd-shim-runsc-v1: permission denied',
    'failed to start shim: fork/exec /usr/local/bin/containerd-shim-runsc-v1: exec format error',
    'failed to start shim: exec: "/opt/containerd-shim-runsc-v1": permission denied',
  ],
  RunscConfigInvalid: [
    'failed to create containerd task: decode config file "/etc/containerd/runsc.toml": open /etc/containerd/runsc.toml: no such file or directory',
    'failed to create containerd task: decode config file "/etc/containerd/runsc.toml": toml: incompatible types: TOML value has type bool; destination has type string',
  ],
  UserNamespacesDisabled: [
    'host setting "/proc/sys/user/max_user_namespaces" (currently: "0") is not supported (must be at least 2); must change it to "256" for runsc to work',
  ],
  SidecarMissing: [
    'sidecar binary "gvisor_sentry" not found (expected at "/usr/local/bin/gvisor-bin/gvisor_sentry"); install it per https://gvisor.dev/docs/user_guide/install/ instructions',
  ],
  ReleaseSkew: [
    'panic: this binary\'s build label "release-20260810.0" does not match the expected release "release-20260817.0"; all gVisor binaries must come from the same release',
  ],
  KvmMissing: [
    kvmDevice('/dev/kvm', 'no such file or directory'),
    kvmDevice('/dev/kvm', 'no such device'),
    kvmDevice('/dev/other', 'no such device or address'),
    `${kvmDevice('/dev/kvm', 'no such file or directory')}: unknown`, // containerd 1.7
  ],
  KvmNotPermitted: [
    kvmDevice('/dev/kvm', 'permission denied'),
    kvmDevice('/dev/kvm', 'operation not permitted'),
    `${kvmDevice('/dev/kvm', 'operation not permitted')}: unknown`,
  ],
  RunscNotFound: [
    'OCI runtime create failed: unable to retrieve OCI runtime error (open /run/log.json: no such file or directory): exec: "runsc": executable file not found in $PATH',
    'OCI runtime create failed: fork/exec /usr/local/bin/runsc: no such file or directory',
  ],
  RunscNotExecutable: [
    'OCI runtime create failed: fork/exec /usr/local/bin/runsc: permission denied',
    'OCI runtime create failed: fork/exec /usr/local/bin/runsc: exec format error',
    'OCI runtime create failed: exec: "/usr/local/bin/runsc": permission denied',
  ],
  SandboxFailed: [
    'OCI runtime create failed: unable to retrieve OCI runtime error (open /run/containerd/log.json: no such file or directory): runsc did not terminate successfully',
    SENTRY_ENDED,
    kvmDevice('/dev/kvm', 'device or resource busy'),
    'creating container: write /sys/fs/cgroup/kubepods/besteffort/cgroup.procs: device or resource busy',
    'configuring cgroup: write /sys/fs/cgroup/system.slice/cgroup.subtree_control: no such file or directory',
    'SELinux is not supported: system_u:system_r:container_t:s0:c1,c2',
    '',
  ],
  LimitsNotEnforced: [
    'OCI runtime create failed: creating container: cannot set up cgroup for root: invalid systemd path: "/kubepods/gvisor_ready/1f"',
  ],
};

const INCONCLUSIVE: typeof FAILED = {
  SandboxImageMissing: [
    'failed to get sandbox image "registry.k8s.io/pause:3.10": failed to pull image "registry.k8s.io/pause:3.10"',
    'failed to start sandbox "1f": failed to pull and unpack image "registry.k8s.io/pause:3.10": failed to resolve reference',
    'failed to resolve image "registry.k8s.io/pause:3.10": not found',
    'failed to pull image "pause": dial tcp 10.0.0.1:443: i/o timeout',
  ],
  CheckTimedOut: ['context deadline exceeded', 'error creating systemd unit `x.scope`: got timeout'],
  NodeExhausted: [
    'fork/exec /usr/bin/containerd-shim-runsc-v1: resource temporarily unavailable',
    'mkdir x: no space left on device',
  ],
};

describe('outcomeOfError', () => {
  for (const [kind, table] of [
    ['failed', FAILED],
    ['inconclusive', INCONCLUSIVE],
  ] as const)
    for (const [reason, messages] of Object.entries(table))
      for (const message of messages)
        it(`is ${kind} ${reason} for: ${message.slice(0, 90)}`, () =>
          assert.deepEqual(outcomeOfError(message), { kind, reason, message }));
});

describe('outcomeOfKvm', () => {
  for (const [reason, message, expected] of [
    ['SandboxFailed', SENTRY_ENDED, 'KvmRunsNoGuest'],
    ['SandboxFailed', `${SENTRY_ENDED}: unknown`, 'KvmRunsNoGuest'],
    ['SandboxDied', '2 sandboxes in a row died by themselves within 300 ms', 'KvmRunsNoGuest'],
    ['SandboxFailed', kvmDevice('/dev/kvm', 'device or resource busy'), 'SandboxFailed'],
    ['SandboxFailed', 'creating container: write cgroup.procs: device or resource busy', 'SandboxFailed'],
  ] as const)
    it(`is ${expected} for ${reason} with: ${message.slice(-60)}`, () => {
      const outcome = outcomeOfKvm({ kind: 'failed', reason, message });
      assert.equal(outcome.reason, expected);
      assert.ok(outcome.message.endsWith(message));
    });
});
