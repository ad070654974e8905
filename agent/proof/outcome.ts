import { errorLine } from '../host/error-line.ts';
import type { Reason } from '../reasons.ts';
import { reasonUnseen } from '../unseen.ts';

/** How one attempt to boot a sandbox ended. All times are in milliseconds. */
export type Outcome =
  | {
      readonly kind: 'proven';
      /** The kernel release seen inside, for example "4.4.0". */
      readonly guestKernel: string;
      /** From the request to the first output from inside. */
      readonly bootMs: number;
      readonly teardownMs: number;
      readonly message: string;
    }
  | {
      readonly kind: 'failed' | 'stuck' | 'interrupted' | 'impossible';
      readonly reason: Reason;
      readonly message: string;
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
  [/sidecar binary .* not found/, 'SidecarMissing'],
  [/does not match the expected release/, 'ReleaseSkew'],
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

/** gVisor's own words (and runc's) when it runs, and the image's programs do not: so this says nothing bad about it. */
const NO_PROGRAM = /error finding executable "(cat|sleep)"|failed to load \S+: |exec: "(cat|sleep)": /;

/** Names the cause of an error that containerd gave while a sandbox should boot. */
export function outcomeOfError(message: string): Outcome {
  if (NO_IMAGE.test(message)) return { kind: 'impossible', reason: 'ProbeImageMissing', message };
  if (NO_PROGRAM.test(message)) return { kind: 'impossible', reason: 'ProbeImageUnusable', message };
  const reason = CAUSES.find(([pattern]) => pattern.test(message))?.[1] ?? 'SandboxFailed';
  return { kind: 'failed', reason, message };
}

/** The outcome of a proof that could not be made. */
export function impossible(error: unknown): Outcome {
  return { kind: 'impossible', reason: reasonUnseen(error), message: errorLine(error) };
}

/** The outcome of a proof that somebody else, such as the kubelet, got in the way of. */
export function interrupted(message: string): Outcome {
  return {
    kind: 'interrupted',
    reason: 'ProbeInterrupted',
    message: `the probe's sandbox was stopped by somebody else: ${message}`,
  };
}
