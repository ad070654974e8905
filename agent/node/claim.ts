import type { Report } from '../report.ts';
import type { Verdict } from '../verdict.ts';
import { OWN_KEYS } from './keys.ts';
import type { NodeObject } from './object.ts';

/** What the agent claims of its Node. */
export type Claim = Pick<Report, 'verdict' | 'facts'>;

/**
 * A proof belongs to the boot on which it was made. Until this agent has a report, a label of another boot is withdrawn,
 * and anything else stands (undefined). Its own proof is held back while the kubelet reports another boot: the fleet controller
 * compares the annotation with that, and would withdraw the label again.
 */
export function claimFor(report: Report | undefined, node: NodeObject, boot: string): Claim | undefined {
  const { labels, annotations } = node.metadata;
  if (report === undefined) {
    const proven = annotations?.[OWN_KEYS.annotations.provenBoot];
    if (labels?.[OWN_KEYS.labels.ready] !== 'true' || proven === boot) return undefined;
    return rebooted(rebootMessage(proven, boot));
  }
  const reported = node.status?.nodeInfo?.bootID ?? '';
  if (report.verdict.status !== 'True' || reported === '' || reported === boot) return report;
  return rebooted(`gVisor was proven in the boot ${boot}, but the kubelet reports the boot ${reported}`);
}

/** Why a label of an earlier boot was withdrawn. */
export function rebootMessage(proven: string | undefined, boot: string): string {
  const when = proven === undefined ? 'an unknown boot' : `the boot ${proven}`;
  return `gVisor was proven in ${when}, and not yet in the present one, ${boot}`;
}

function rebooted(message: string): Claim {
  const verdict: Verdict = { status: 'Unknown', reason: 'NodeRebooted', message };
  return { verdict, facts: {} };
}
