import type { FaultName } from '../cluster/faults/fault-texts.ts';
import { FAULTS } from '../cluster/faults/faults.ts';
import type { Reason } from '../lib/base/reasons.ts';

/** The reason that an agent gives for each fault of `cluster/`. */
export const REASON_OF_FAULT = {
  'shim-missing': 'ShimNotFound',
  'runsc-missing': 'RunscNotFound',
  'runsc-not-executable': 'RunscNotExecutable',
  'runsc-cannot-boot': 'SandboxFailed',
  'runsc-hangs': 'SandboxSlow',
  'handler-removed': 'HandlerNotConfigured',
  'handler-edited': 'SandboxProven',
  'handler-wrong-table': 'HandlerInIgnoredTable',
  'handler-runs-runc': 'HandlerRunsRunc',
  'config-missing': 'RunscConfigInvalid',
  'config-not-toml': 'RunscConfigInvalid',
  'containerd-stopped': 'ContainerdUnreachable',
  'containerd-hung': 'CheckTimedOut',
  'shims-hung': 'SandboxProven',
  'sentries-hung': 'SandboxProven',
  'pause-image-missing': 'SandboxImageMissing',
  'kubelet-stopped': 'SandboxProven',
  'api-down': 'SandboxProven',
  'agent-killed': 'SandboxProven',
} as const satisfies Record<FaultName, Reason>;

/** Faults that keep the agent from an answer; the others that change a verdict are an answer. */
const UNKNOWN: readonly FaultName[] = [
  'runsc-hangs',
  'containerd-stopped',
  'containerd-hung',
  'pause-image-missing',
];

/** The faults that give a node a verdict of this status, each with its reason. */
export function faultsWith(status: 'False' | 'Unknown'): readonly (readonly [FaultName, Reason])[] {
  const all = Object.keys(FAULTS).map((fault) => [fault, REASON_OF_FAULT[fault as FaultName]] as const);
  const judged = all.filter(([, reason]) => reason !== 'SandboxProven') as [FaultName, Reason][];
  return judged.filter(([fault]) => UNKNOWN.includes(fault) === (status === 'Unknown'));
}
