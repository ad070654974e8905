import { TimeoutError } from '../base/async.ts';
import type { Reason } from '../base/reasons.ts';
import { errorLine } from '../base/sanitize.ts';
import { CriError, CriPluginUnavailable } from '../containerd/error.ts';
import { NotVisible } from '../host/paths.ts';
import { CAUSES } from './causes.ts';
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
  /** Duration so far. */
  readonly tookMs: number;
  /** False while it starts, or is not gone. */
  readonly ended: boolean;
  /** Set if its sandbox did not start. */
  readonly error?: unknown;
};

/** Takes the words of containerd, the shim or runsc on a sandbox that does not start. */
export function outcomeOfError(message: string): Unproven {
  const cause = CAUSES.find(({ patterns }) => patterns.some((pattern) => pattern.test(message)));
  const { kind, reason } = cause ?? { kind: 'failed', reason: 'SandboxFailed' };
  return { kind, reason, message };
}

function says(text: string, reason: (typeof CAUSES)[number]['reason']): boolean {
  return CAUSES.some(
    (cause) => cause.reason === reason && cause.patterns.some((pattern) => pattern.test(text)),
  );
}

/** The sentry ended early, and runsc does not know why. */
const SENTRY_ENDED = /waiting for sandbox to start: EOF/;

/**
 * runsc opens the device, but the sentry runs the guest, and its error is lost or, on some processors, it
 * spins: https://github.com/google/gvisor/blob/release-20260223.0/runsc/boot/loader.go (createPlatform).
 */
export function outcomeOfKvm(unproven: Unproven): Unproven {
  const { reason, message } = unproven;
  const hint = 'on the platform kvm a boot can hang if KVM runs no guest here';
  if (reason === 'SandboxSlow') return { ...unproven, message: `${message}; ${hint}` };
  const ended = reason === 'SandboxDied' || SENTRY_ENDED.test(message);
  if (!ended && reason !== 'SandboxHangs') return unproven;
  const why = `gVisor's kernel ${ended ? 'ends' : 'hangs'} on the platform kvm, and KVM's device opens`;
  return { ...unproven, reason: 'KvmRunsNoGuest', message: `${why}; ${message}` };
}

/** Whether something took longer than its deadline, as on a node that is slow. */
export function isTimeout(error: unknown): boolean {
  return reasonForError(error) === 'CheckTimedOut' || says(errorLine(error), 'CheckTimedOut');
}

/** Beyond this many times runc's duration, gVisor is at fault. Measured: 1 to 3 times. */
const MAX_RATIO = 10;

/** Whether runc's sandbox shows that the node explains a sandbox of gVisor that takes as long as this. */
export function isAsSlow({ tookMs, error }: ControlResult, forMs: number): boolean {
  return forMs < tookMs * MAX_RATIO || (error !== undefined && isTimeout(error));
}

/** Something took too long, and so does runc's sandbox. */
export function outcomeOfSlowNode(control: ControlResult, late: Unproven): Unproven {
  const message = `${late.message}; ${comparison(control)}`;
  return { kind: 'inconclusive', reason: 'CheckTimedOut', message, tolerated: true };
}

export function comparison(control: ControlResult | undefined): string {
  if (control === undefined) return 'there is no sandbox of runc to compare it with';
  const { handler, ended, tookMs, error } = control;
  const one = `one of handler "${handler}"`;
  if (error !== undefined) return `${one} could not be started: ${errorLine(error)}`;
  return `${one} ${ended ? 'took' : 'has taken'} ${(tookMs / 1_000).toFixed(1)} s`;
}

/** runc cannot fork: measured with no process left to the pods' cgroup. */
const CANNOT_FORK = /can't get final child's PID from pipe: EOF|procReady not received/;

/** If runc does not start either, gVisor is cleared. */
export function outcomeOfControl({ handler, ended, error }: ControlResult, failed: Unproven): Unproven {
  const why = ended ? errorLine(error) : 'it has not ended yet';
  const message = `a sandbox of handler "${handler}" does not start either (${why}); ${failed.message}`;
  if (!ended || isTimeout(error))
    return { kind: 'inconclusive', reason: 'CheckTimedOut', message, tolerated: true };
  const isExhausted = says(message, 'NodeExhausted') || CANNOT_FORK.test(why);
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
