import { TimeoutError } from '../../base/async.ts';
import { errorLine } from '../../base/sanitize.ts';
import { CriError, CriPluginUnavailable } from '../containerd/error.ts';
import { NotVisible } from '../host/paths.ts';
import type { Reason } from '../reasons.ts';
import { WrongRuntime } from './sandbox.ts';
import type { Witness } from './witness.ts';

/** `slow` while the probe still runs. */
export type Outcome =
  | {
      readonly kind: 'proven';
      readonly witness: Witness;
      /** From the request until the sandbox was ready. */
      readonly bootMs: number;
      /** Milliseconds to stop and remove it. */
      readonly teardownMs: number;
      readonly message: string;
    }
  | Unproven;

/** `inconclusive` says nothing about gVisor. */
export type Unproven = {
  readonly kind: 'failed' | 'stuck' | 'slow' | 'interrupted' | 'inconclusive';
  readonly reason: Reason;
  readonly message: string;
  /** Set if a control showed that the node is slow. */
  readonly tolerated?: boolean;
};

export type ControlResult = {
  readonly handler: string;
  /** Duration of the start so far. */
  readonly tookMs: number;
  readonly ended: boolean;
  /** Set if its sandbox did not start. */
  readonly error?: unknown;
};

/**
 * The first match counts. Sources: containerd internal/cri/server/sandbox_run.go,
 * core/runtime/v2/shim_manager.go, gVisor pkg/shim/v1/runsc/container.go, runsc/hostsettings/hostsettings.go
 * and pkg/sentry/platform/kvm/kvm.go (OpenDevice).
 */
const CAUSES: readonly (readonly [RegExp, Reason])[] = [
  [
    /no runtime for ".*" is configured|failed to find runtime handler|RuntimeHandler ".*" not supported/,
    'HandlerNotLoaded',
  ],
  [
    /binary not installed|invalid custom binary path|failed to resolve runtime path|fork\/exec [^ ]*containerd-shim[^ ]*: no such file|exec: "[^"]*containerd-shim[^"]*": (executable file not found|stat )/,
    'ShimNotFound',
  ],
  [
    /(fork\/exec [^ ]*containerd-shim[^ ]*|exec: "[^"]*containerd-shim[^"]*"): (permission denied|exec format error)/,
    'ShimNotExecutable',
  ],
  // sandboxer = "shim" and a shim without the Sandbox API; measured with gVisor 2025-02, 2026-02 and 2026-09.
  [/service containerd\.runtime\.sandbox\.v1\.Sandbox/, 'SandboxerUnsupported'],
  [/decode config file|failed to parse config|toml: /i, 'RunscConfigInvalid'],
  [/max_user_namespaces/, 'UserNamespacesDisabled'],
  [/sidecar (binary )?"[^"]*" not (found|usable)/, 'SidecarMissing'],
  [/does not match the expected release/, 'ReleaseSkew'],
  // "No such device" is a device file without its driver.
  [/error opening KVM device file .*: no such (file or directory|device)/, 'KvmMissing'],
  [/error opening KVM device file .*: (permission denied|operation not permitted)/, 'KvmNotPermitted'],
  // systemd-cgroup = "true" although the kubelet uses cgroupfs; measured with gVisor 2026-02.
  [/invalid systemd path/, 'LimitsNotEnforced'],
  [
    /exec: "[^"]*runsc[^"]*": (executable file not found|stat )|\/[^ ]*runsc: no such file or directory/,
    'RunscNotFound',
  ],
  [
    /\/[^ ]*runsc: (permission denied|exec format error)|exec: "[^"]*runsc[^"]*": permission denied/,
    'RunscNotExecutable',
  ],
];

/** A missing pause image says nothing about gVisor. */
const NO_IMAGE =
  /failed to get sandbox image|failed to pull image|failed to pull and unpack image|failed to resolve image|failed to resolve reference/;

/** Timeouts of containerd, shims and gVisor (runsc/cgroup/systemd.go), which a busy node exceeds. */
const TIMED_OUT = /context deadline exceeded|got timeout|i\/o timeout/;
/** Texts of EAGAIN, ENOMEM, EMFILE, ENFILE, ENOSPC and EDQUOT. */
const EXHAUSTED =
  /resource temporarily unavailable|cannot allocate memory|too many open files|no space left on device|disk quota exceeded|failed to create new OS thread/;

export function outcomeOfError(message: string): Outcome {
  if (NO_IMAGE.test(message)) return { kind: 'inconclusive', reason: 'SandboxImageMissing', message };
  if (TIMED_OUT.test(message)) return { kind: 'inconclusive', reason: 'CheckTimedOut', message };
  if (EXHAUSTED.test(message)) return { kind: 'inconclusive', reason: 'NodeExhausted', message };
  const reason = CAUSES.find(([pattern]) => pattern.test(message))?.[1] ?? 'SandboxFailed';
  return { kind: 'failed', reason, message };
}

/** The sentry ended early, and runsc does not know why. */
const SENTRY_ENDED = /waiting for sandbox to start: EOF/;

/**
 * runsc opens the device, but the sentry runs the guest, and its error is lost or, on some processors, it
 * spins: https://github.com/google/gvisor/blob/release-20260223.0/runsc/boot/loader.go (createPlatform).
 */
export function outcomeOfKvm(unproven: Unproven): Unproven {
  const { reason, message } = unproven;
  if (reason === 'SandboxSlow')
    return {
      ...unproven,
      message: `${message}; on the platform kvm a boot can hang if KVM runs no guest here`,
    };
  const ended = reason === 'SandboxDied' || SENTRY_ENDED.test(message);
  if (!ended && reason !== 'SandboxHangs') return unproven;
  const why = `gVisor's kernel ${ended ? 'ends' : 'hangs'} on the platform kvm, and KVM's device opens`;
  return { ...unproven, reason: 'KvmRunsNoGuest', message: `${why}; ${message}` };
}

/** runc cannot fork: measured with no process left to the pods' cgroup. */
const CANNOT_FORK = /can't get final child's PID from pipe: EOF|procReady not received/;

/** If runc does not start either, gVisor is cleared. */
export function outcomeOfControl({ handler, ended, error }: ControlResult, failed: Unproven): Unproven {
  const why = ended ? errorLine(error) : 'it has not ended yet';
  const message = `a sandbox of handler "${handler}" does not start either (${why}); ${failed.message}`;
  if (!ended || TIMED_OUT.test(why)) return { kind: 'inconclusive', reason: 'CheckTimedOut', message };
  const isExhausted = EXHAUSTED.test(message) || CANNOT_FORK.test(why);
  const reason = isExhausted ? 'NodeExhausted' : 'NoSandboxStarts';
  return { kind: 'inconclusive', reason, message };
}

export function inconclusive(error: unknown): Unproven {
  return { kind: 'inconclusive', reason: reasonForError(error), message: errorLine(error) };
}

/** Stopped early, by the kubelet for example. */
export function interrupted(cause: string): Outcome {
  const message = `the probe's sandbox was stopped before it was examined: ${cause}`;
  return { kind: 'interrupted', reason: 'ProbeInterrupted', message };
}

/** The reason for an error that kept a check or a proof from a result. */
export function reasonForError(error: unknown): Reason {
  if (error instanceof NotVisible) return 'NotVisible';
  if (error instanceof WrongRuntime) return 'WrongRuntime';
  if (error instanceof CriPluginUnavailable) return 'CriPluginUnavailable';
  if (error instanceof TimeoutError) return 'CheckTimedOut';
  if (!(error instanceof CriError)) return 'CheckFailed';
  if (error.kind === 'timeout') return 'CheckTimedOut';
  // The agent aborts no call itself, so the connection broke.
  return error.kind === 'unreachable' || error.kind === 'aborted' ? 'ContainerdUnreachable' : 'CheckFailed';
}
