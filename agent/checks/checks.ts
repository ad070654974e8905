import { withTimeout } from '../../lib/base/async.ts';
import { checkFailed, type Finding } from '../../lib/checks/finding.ts';
import { checkKernel } from '../../lib/checks/kernel.ts';
import { checkUserNamespaces } from '../../lib/checks/user-namespaces.ts';
import type { Witness } from '../../lib/proof/witness.ts';
import type { Check, CheckInputs } from './check.ts';
import { checkContainerd } from './containerd.ts';
import { checkContainers } from './containers.ts';
import { checkGpu } from './gpu.ts';
import { checkHandlerConfigured } from './handler-configured.ts';
import { checkHandlerCurrent } from './handler-current.ts';
import { checkHandlerLoaded } from './handler-loaded.ts';
import { checkHandlerRuntime } from './handler-runtime.ts';
import { checkIsolation } from './isolation.ts';
import { checkKvm } from './kvm.ts';
import { checkLimits } from './limits.ts';
import { checkNetwork } from './network.ts';
import { checkRunsc } from './runsc.ts';
import { checkRunscConfig } from './runsc-config.ts';
import { checkRunscRelease } from './runsc-release.ts';
import { checkShim } from './shim.ts';
import { checkSidecars } from './sidecars.ts';

/** Causes before effects: the first failure names the reason. */
export const CAUSE_CHECKS: readonly Check[] = [
  {
    id: 'kernel',
    title: 'The kernel and the architecture can run gVisor',
    inspect: ({ sources }) => checkKernel(sources.host),
  },
  {
    id: 'user-namespaces',
    title: 'User namespaces are enabled',
    inspect: ({ sources }) => checkUserNamespaces(sources.host),
  },
  { id: 'containerd', title: 'containerd responds and is ready', inspect: checkContainerd },
  {
    id: 'handler-configured',
    title: "The handler is in containerd's configuration on disk",
    inspect: checkHandlerConfigured,
  },
  { id: 'handler-loaded', title: 'The running containerd has the handler', inspect: checkHandlerLoaded },
  { id: 'handler-current', title: 'The loaded handler is the one on disk', inspect: checkHandlerCurrent },
  { id: 'handler-runtime', title: 'The handler runs gVisor', inspect: checkHandlerRuntime },
  { id: 'shim', title: 'containerd finds and can execute the shim', inspect: checkShim },
  { id: 'runsc', title: 'runsc is installed and executable', inspect: checkRunsc },
  { id: 'runsc-config', title: 'The shim accepts its configuration file', inspect: checkRunscConfig },
  { id: 'sidecars', title: 'runsc has the sidecar programs of its release', inspect: checkSidecars },
  { id: 'kvm', title: 'The kernel has KVM, if the platform is kvm', inspect: checkKvm },
];

export const EVIDENCE_CHECKS: readonly Check[] = [
  { id: 'isolation', title: 'Nothing weakens the sandbox', inspect: checkIsolation, required: () => true },
  { id: 'containers', title: 'Nothing keeps containers from starting', inspect: checkContainers },
  { id: 'network', title: 'The handler has a network for its pods', inspect: checkNetwork },
  {
    id: 'limits',
    title: 'CPU and memory limits of pods are enforced',
    inspect: checkLimits,
    required: ({ requireLimits }) => requireLimits,
  },
  {
    id: 'runsc-release',
    title: 'The gVisor release is new enough',
    inspect: checkRunscRelease,
    required: ({ minRunscRelease }) => minRunscRelease !== undefined,
  },
  { id: 'gpu', title: 'gVisor supports the NVIDIA driver', inspect: checkGpu },
];

export type RunChecksOptions = {
  readonly now: () => number;
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
  readonly witness?: Witness | undefined;
};

const TIMEOUT_MS = 10_000;

/** Unknown if a check throws or times out. Rejects only when the signal is aborted. */
export async function runChecks(
  checks: readonly Check[],
  inputs: CheckInputs,
  options: RunChecksOptions,
): Promise<readonly Finding[]> {
  options.signal.throwIfAborted();
  const findings = await Promise.all(checks.map((check) => runCheck(check, inputs, options)));
  options.signal.throwIfAborted();
  return findings;
}

async function runCheck(check: Check, inputs: CheckInputs, options: RunChecksOptions): Promise<Finding> {
  const { now, signal, witness, timeoutMs = TIMEOUT_MS } = options;
  const startedMs = now();
  const result = await withTimeout(async () => check.inspect(inputs, witness), { signal, timeoutMs }).catch(
    checkFailed,
  );
  const blocking = result.status === 'unknown' && check.required?.(inputs.sources) ? { blocking: true } : {};
  return { ...result, ...blocking, check: check.id, durationMs: now() - startedMs };
}
