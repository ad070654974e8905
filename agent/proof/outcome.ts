import { reasonForError } from '../finding.ts';
import type { Reason } from '../reasons.ts';
import { errorLine } from '../sanitize.ts';
import type { Witness } from './witness.ts';

/** How a proof ended, or that it has not ended yet (`slow`). All times are in milliseconds. */
export type Outcome =
  | {
      readonly kind: 'proven';
      readonly witness: Witness;
      /** From the request to the sandbox that is ready. */
      readonly bootMs: number;
      readonly teardownMs: number;
      readonly message: string;
    }
  | Unproven;

/** How a proof ended that proved nothing. */
export type Unproven = {
  readonly kind: 'failed' | 'stuck' | 'slow' | 'interrupted' | 'impossible';
  readonly reason: Reason;
  readonly message: string;
  /** Set where a control showed that the node, and not gVisor, is slow. */
  readonly tolerated?: boolean;
};

/** The result of a control; `handler` is the handler that was tried, `error` is set where its sandbox did not start. */
export type ControlResult = {
  readonly handler: string;
  /** How long the start took; of one that has not ended yet, how long it has taken so far. */
  readonly tookMs: number;
  readonly ended: boolean;
  readonly error?: unknown;
};

/**
 * containerd's and runsc's own words, and the cause they stand for; the first that matches counts.
 * Sources: containerd internal/cri/server/sandbox_run.go, core/runtime/v2/shim_manager.go, gVisor
 * pkg/shim/v1/runsc/container.go and runsc/hostsettings/hostsettings.go.
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
  [/decode config file|failed to parse config|toml: /i, 'RunscConfigInvalid'],
  [/max_user_namespaces/, 'UserNamespacesDisabled'],
  [/sidecar (binary )?"[^"]*" not (found|usable)/, 'SidecarMissing'],
  [/does not match the expected release/, 'ReleaseSkew'],
  // systemd-cgroup = "true" where the kubelet uses cgroupfs; measured with gVisor 2026-02.
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

/** Errors about an image that is not on the node say nothing about gVisor. */
const NO_IMAGE =
  /failed to get sandbox image|failed to pull image|failed to pull and unpack image|failed to resolve image|failed to resolve reference/;

/** A deadline that containerd, its shims or gVisor (runsc/cgroup/systemd.go) have of their own, which a busy node does not keep. */
const LATE = /context deadline exceeded|got timeout|i\/o timeout/;
/** The words of EAGAIN, ENOMEM, EMFILE, ENFILE, ENOSPC and EDQUOT: the node has no process, memory, file or space left. */
const EXHAUSTED =
  /resource temporarily unavailable|cannot allocate memory|too many open files|no space left on device|disk quota exceeded|failed to create new OS thread/;

/** Names the cause of an error that containerd gave while a sandbox should boot. */
export function outcomeOfError(message: string): Outcome {
  if (NO_IMAGE.test(message)) return { kind: 'impossible', reason: 'SandboxImageMissing', message };
  if (LATE.test(message)) return { kind: 'impossible', reason: 'CheckTimedOut', message };
  if (EXHAUSTED.test(message)) return { kind: 'impossible', reason: 'NodeExhausted', message };
  const reason = CAUSES.find(([pattern]) => pattern.test(message))?.[1] ?? 'SandboxFailed';
  return { kind: 'failed', reason, message };
}

/** The outcome where no sandbox of runc starts either: that says nothing of gVisor. */
export function outcomeOfControl({ handler, ended, error }: ControlResult, failed: Unproven): Unproven {
  const why = ended ? errorLine(error) : 'it has not ended yet';
  const message = `a sandbox of handler "${handler}" does not start either (${why}); ${failed.message}`;
  if (!ended || LATE.test(why)) return { kind: 'impossible', reason: 'CheckTimedOut', message };
  const reason = EXHAUSTED.test(message) ? 'NodeExhausted' : 'NoSandboxStarts';
  return { kind: 'impossible', reason, message };
}

/** The outcome of a proof that could not be made. */
export function inconclusive(error: unknown): Unproven {
  return { kind: 'impossible', reason: reasonForError(error), message: errorLine(error) };
}

/** The outcome of a proof that somebody else, such as the kubelet, got in the way of. */
export function interrupted(message: string): Outcome {
  const stopped = `the probe's sandbox was stopped before it was looked at: ${message}`;
  return { kind: 'interrupted', reason: 'ProbeInterrupted', message: stopped };
}
