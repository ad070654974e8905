import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { outcomeOfError } from '../../../agent/proof/outcome.ts';

const V1_SHIM =
  'failed to create containerd task: failed to start shim: failed to resolve runtime path: runtime "io.containerd.runsc.v1" binary not installed "containerd-shim-runsc-v1": file does not exist: unknown';

const TABLE: readonly [string, string][] = [
  ['failed to get sandbox runtime: no runtime for "runsc" is configured', 'HandlerNotLoaded'],
  ['unable to get OCI runtime for sandbox "1f": no runtime for "runsc" is configured', 'HandlerNotLoaded'],
  ['RuntimeHandler "runsc" not supported', 'HandlerNotLoaded'],
  ['failed to find runtime handler "runsc"', 'HandlerNotLoaded'],
  [V1_SHIM, 'ShimNotFound'],
  [`failed to start sandbox "1f": ${V1_SHIM}`, 'ShimNotFound'],
  [
    'failed to start sandbox "1f": failed to create containerd task: invalid custom binary path: stat /opt/gvisor/containerd-shim-runsc-v1: no such file or directory',
    'ShimNotFound',
  ],
  [
    'failed to start shim: start failed: exec: "containerd-shim-runsc-v1": executable file not found in $PATH',
    'ShimNotFound',
  ],
  [
    'failed to create containerd task: failed to start shim: start failed: : fork/exec /usr/local/bin/containerd-shim-runsc-v1: no such file or directory: unknown',
    'ShimNotFound',
  ],
  [
    'failed to start shim: exec: "/opt/containerd-shim-runsc-v1": stat /opt/containerd-shim-runsc-v1: no such file or directory',
    'ShimNotFound',
  ],
  [
    'failed to start shim: fork/exec /usr/local/bin/containerd-shim-runsc-v1: permission denied',
    'ShimNotExecutable',
  ],
  [
    'failed to start shim: fork/exec /usr/local/bin/containerd-shim-runsc-v1: exec format error',
    'ShimNotExecutable',
  ],
  ['failed to start shim: exec: "/opt/containerd-shim-runsc-v1": permission denied', 'ShimNotExecutable'],
  [
    'failed to create containerd task: decode config file "/etc/containerd/runsc.toml": open /etc/containerd/runsc.toml: no such file or directory',
    'RunscConfigInvalid',
  ],
  [
    'failed to create containerd task: decode config file "/etc/containerd/runsc.toml": toml: incompatible types: TOML value has type bool; destination has type string',
    'RunscConfigInvalid',
  ],
  [
    'host setting "/proc/sys/user/max_user_namespaces" (currently: "0") is not supported (must be at least 2); must change it to "256" for runsc to work',
    'UserNamespacesDisabled',
  ],
  [
    'sidecar binary "gvisor_sentry" not found (expected at "/usr/local/bin/gvisor-bin/gvisor_sentry"); install it per https://gvisor.dev/docs/user_guide/install/ instructions',
    'SidecarMissing',
  ],
  [
    'panic: this binary\'s build label "release-20260810.0" does not match the expected release "release-20260817.0"; all gVisor binaries must come from the same release',
    'ReleaseSkew',
  ],
  [
    'OCI runtime create failed: unable to retrieve OCI runtime error (open /run/log.json: no such file or directory): exec: "runsc": executable file not found in $PATH',
    'RunscNotFound',
  ],
  ['OCI runtime create failed: fork/exec /usr/local/bin/runsc: no such file or directory', 'RunscNotFound'],
  ['OCI runtime create failed: fork/exec /usr/local/bin/runsc: permission denied', 'RunscNotExecutable'],
  ['OCI runtime create failed: fork/exec /usr/local/bin/runsc: exec format error', 'RunscNotExecutable'],
  ['OCI runtime create failed: exec: "/usr/local/bin/runsc": permission denied', 'RunscNotExecutable'],
  [
    'OCI runtime create failed: unable to retrieve OCI runtime error (open /run/containerd/log.json: no such file or directory): runsc did not terminate successfully',
    'SandboxFailed',
  ],
  ['cannot create sandbox: cannot read client sync file: waiting for sandbox to start: EOF', 'SandboxFailed'],
  [
    'creating container: write /sys/fs/cgroup/kubepods/besteffort/cgroup.procs: device or resource busy',
    'SandboxFailed',
  ],
  [
    'OCI runtime create failed: creating container: cannot set up cgroup for root: invalid systemd path: "/kubepods/gvisor_ready/1f"',
    'LimitsNotEnforced',
  ],
  [
    'configuring cgroup: write /sys/fs/cgroup/system.slice/cgroup.subtree_control: no such file or directory',
    'SandboxFailed',
  ],
  ['SELinux is not supported: system_u:system_r:container_t:s0:c1,c2', 'SandboxFailed'],
  ['', 'SandboxFailed'],
];

const NO_IMAGE = [
  'failed to get sandbox image "registry.k8s.io/pause:3.10": failed to pull image "registry.k8s.io/pause:3.10"',
  'failed to start sandbox "1f": failed to pull and unpack image "registry.k8s.io/pause:3.10": failed to resolve reference',
  'failed to resolve image "registry.k8s.io/pause:3.10": not found',
];

describe('outcomeOfError', () => {
  for (const [message, reason] of TABLE) {
    it(`${reason}: ${message.slice(0, 90)}`, () => {
      assert.deepEqual(outcomeOfError(message), { kind: 'failed', reason, message });
    });
  }
  for (const message of NO_IMAGE) {
    it(`inconclusive SandboxImageMissing: ${message.slice(0, 90)}`, () => {
      assert.deepEqual(outcomeOfError(message), {
        kind: 'inconclusive',
        reason: 'SandboxImageMissing',
        message,
      });
    });
  }
});
