import type { Reason } from '../base/reasons.ts';

/** What the words of containerd, a shim or runsc say about a sandbox that does not start. */
type Cause = {
  /** `inconclusive` says nothing about gVisor. */
  readonly kind: 'inconclusive' | 'failed';
  readonly reason: Reason;
  /** One of them is enough. */
  readonly patterns: readonly RegExp[];
};

/** In order of precedence. */
export const CAUSES = [
  {
    kind: 'inconclusive',
    reason: 'SandboxImageMissing',
    // A missing pause image says nothing about gVisor.
    patterns: [
      /failed to get sandbox image/,
      /failed to pull image/,
      /failed to pull and unpack image/,
      /failed to resolve image/,
      /failed to resolve reference/,
    ],
  },
  {
    kind: 'inconclusive',
    reason: 'CheckTimedOut',
    // Timeouts of containerd, shims and gVisor (runsc/cgroup/systemd.go), which a busy node exceeds.
    patterns: [/context deadline exceeded/, /got timeout/, /i\/o timeout/],
  },
  {
    kind: 'inconclusive',
    reason: 'NodeExhausted',
    // The texts of EAGAIN, ENOMEM, EMFILE, ENFILE, ENOSPC and EDQUOT.
    patterns: [
      /resource temporarily unavailable/,
      /cannot allocate memory/,
      /too many open files/,
      /no space left on device/,
      /disk quota exceeded/,
      /failed to create new OS thread/,
    ],
  },
  {
    kind: 'failed',
    reason: 'HandlerNotLoaded',
    // Source: containerd internal/cri/server/sandbox_run.go.
    patterns: [
      /no runtime for ".*" is configured/,
      /failed to find runtime handler/,
      /RuntimeHandler ".*" not supported/,
    ],
  },
  {
    kind: 'failed',
    reason: 'ShimNotFound',
    // Source: containerd core/runtime/v2/shim_manager.go.
    patterns: [
      /binary not installed/,
      /invalid custom binary path/,
      /failed to resolve runtime path/,
      /fork\/exec [^ ]*containerd-shim[^ ]*: no such file/,
      /exec: "[^"]*containerd-shim[^"]*": (executable file not found|stat )/,
    ],
  },
  {
    kind: 'failed',
    reason: 'ShimNotExecutable',
    patterns: [
      /(fork\/exec [^ ]*containerd-shim[^ ]*|exec: "[^"]*containerd-shim[^"]*"): (permission denied|exec format error)/,
    ],
  },
  {
    kind: 'failed',
    reason: 'SandboxerUnsupported',
    // sandboxer = "shim" and a shim without the Sandbox API; measured with gVisor 2025-02, 2026-02 and 2026-09.
    patterns: [/service containerd\.runtime\.sandbox\.v1\.Sandbox/],
  },
  {
    kind: 'failed',
    reason: 'RunscConfigInvalid',
    // Source: gVisor pkg/shim/v1/runsc/container.go.
    patterns: [/decode config file|failed to parse config|toml: /i],
  },
  {
    kind: 'failed',
    reason: 'UserNamespacesDisabled',
    // Source: gVisor runsc/hostsettings/hostsettings.go.
    patterns: [/max_user_namespaces/],
  },
  {
    kind: 'failed',
    reason: 'SidecarMissing',
    patterns: [/sidecar (binary )?"[^"]*" not (found|usable)/],
  },
  {
    kind: 'failed',
    reason: 'ReleaseSkew',
    patterns: [/does not match the expected release/],
  },
  {
    kind: 'failed',
    reason: 'KvmMissing',
    // "No such device" is a device file without its driver.
    // Source: gVisor pkg/sentry/platform/kvm/kvm.go (OpenDevice).
    patterns: [/error opening KVM device file .*: no such (file or directory|device)/],
  },
  {
    kind: 'failed',
    reason: 'KvmNotPermitted',
    patterns: [/error opening KVM device file .*: (permission denied|operation not permitted)/],
  },
  {
    kind: 'failed',
    reason: 'LimitsNotEnforced',
    // systemd-cgroup = "true" although the kubelet uses cgroupfs; measured with gVisor 2026-02.
    patterns: [/invalid systemd path/],
  },
  {
    kind: 'failed',
    reason: 'RunscNotFound',
    patterns: [
      /exec: "[^"]*runsc[^"]*": (executable file not found|stat )/,
      /\/[^ ]*runsc: no such file or directory/,
    ],
  },
  {
    kind: 'failed',
    reason: 'RunscNotExecutable',
    patterns: [
      /\/[^ ]*runsc: (permission denied|exec format error)/,
      /exec: "[^"]*runsc[^"]*": permission denied/,
    ],
  },
] as const satisfies readonly Cause[];
