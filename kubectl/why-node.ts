import type { Evidence } from '../agent/finding.ts';
import { DAEMON_SET, NAMESPACE } from '../agent/kube/access.ts';
import { REASONS } from '../agent/reasons.ts';
import type { Status } from '../agent/report.ts';
import { HEADLINES, MARKS, PROOF_TONES, shortIds, type Tone, toneOf } from '../agent/text/format.ts';
import { type AgentPod, listAgents, orAbsent, type Reported, readNodeReport, readUnready } from './agents.ts';
import type { Context } from './context.ts';
import type { Explanation, Observation } from './explanation.ts';
import { type NodeView, type RawNode, viewNode } from './node-view.ts';
import { ageOf } from './output.ts';

/** All that is known of a node. */
export type NodeDetails = {
  readonly node: NodeView;
  /** Undefined for none, "?" where one may not look. */
  readonly agent: AgentPod | '?' | undefined;
  readonly told?: Reported | undefined;
  /** Why the agent's pod is not Ready, in its own words; "" when it is, or does not say. */
  readonly unready?: string;
};

/** Reads a Node, its agent's pod, and the agent's report. */
export async function readNodeDetails({ api }: Pick<Context, 'api'>, raw: RawNode): Promise<NodeDetails> {
  const node = viewNode(raw);
  const agents = await orAbsent(listAgents(api), [403]);
  if (agents === undefined) return { node, agent: '?' };
  const agent = agents.find((each) => each.node === node.name);
  if (agent?.state !== 'Running') return { node, agent };
  const [told, unready] = await Promise.all([
    readNodeReport(api, agent),
    agent.ready ? '' : readUnready(api, agent),
  ]);
  return { node, agent, told, unready };
}

/** Why a node is ready for gVisor, or not. */
export function explainNode(facts: NodeDetails, nowMs: number): Explanation {
  const { node, told } = facts;
  const report = told !== undefined && 'status' in told ? told.status : undefined;
  const reason = report?.verdict.reason ?? node.reason;
  const proven = node.ready === 'true';
  const [agentTone, agentText, agentNext] = aboutAgent(facts);
  const seen: Observation[] = [
    ...(report === undefined ? [] : findingsOf(report)),
    { tone: agentTone, about: 'agent', text: agentText },
    ...(node.alive
      ? []
      : [
          {
            tone: 'warning',
            about: 'node',
            text: 'the kubelet does not say that the node is Ready',
          } as const,
        ]),
    ...(node.cordoned
      ? [{ tone: 'warning', about: 'node', text: 'it is cordoned, so that no new pod comes' } as const]
      : []),
  ];
  const broken = !proven || (agentTone === 'fail' && facts.agent === undefined);
  return {
    tone: broken ? (node.status === 'Unknown' || node.status === '' ? 'unknown' : 'fail') : 'pass',
    headline: headlineOf(node, reason, nowMs),
    because: becauseOf(node, report, nowMs),
    seen,
    next: [...remediesOf(report, reason), ...agentNext],
    docs: 'docs/reasons.md',
  };
}

function headlineOf(
  { name, status, ready, since, reason: written }: NodeView,
  reason: string,
  nowMs: number,
): string {
  if (status === '' && ready === '') return `${name}: no agent has judged it`;
  const held = status === 'True' || status === 'False' || status === 'Unknown' ? status : 'Unknown';
  const age = written === reason ? ageOf(since, nowMs) : '';
  const label = ready === 'true' && held !== 'True' ? '; the label is kept for now' : '';
  return `${name}: ${HEADLINES[held][1]} (${reason}${age === '' ? '' : `, for ${age}`}${label})`;
}

/** The report has the whole message; the condition a short one with the remedy at its end. */
function becauseOf(node: NodeView, report: Status | undefined, nowMs: number): string[] {
  if (report === undefined) return [node.message.split('. What to do: ')[0] ?? ''].filter(Boolean);
  const { verdict, provenAt = '', evaluation } = report;
  const proven = ageOf(provenAt, nowMs);
  const times = `Looked at ${ageOf(evaluation.at, nowMs)} ago; ${proven === '' ? 'gVisor was not proven here since the agent started' : `gVisor was proven ${proven} ago`}.`;
  return verdict.status === 'True' ? [times] : [shortIds(verdict.message), times];
}

/** What passed in one line; what did not, those that say the same together; and the proof. */
function findingsOf({ findings, proof, verdict }: Status): Observation[] {
  const proven = proof.kind === 'proven';
  const passed = findings.filter(({ status }) => status === 'pass').map(({ check }) => check);
  const others = findings.filter(({ status }) => status !== 'pass');
  const first = others.filter(
    ({ message }, at) => others.findIndex((each) => each.message === message) === at,
  );
  const said = (message: string) => (verdict.message.includes(message) ? 'as said above' : shortIds(message));
  return [
    ...(passed.length === 0 ? [] : [{ tone: 'pass', about: 'in order', text: passed.join(', ') } as const]),
    ...first.map((finding) => ({
      tone: knownTone(toneOf(finding, proven)),
      about: others.flatMap(({ check, message }) => (message === finding.message ? [check] : [])).join(', '),
      text: said(finding.message),
      evidence: (finding.evidence ?? []).map(placeOf),
    })),
    {
      tone: knownTone(PROOF_TONES[proof.kind]),
      about: 'proof',
      text: proven ? proof.message : said(proof.message),
    },
  ];
}

/** An agent of another version, or of a node that was taken over, may have words for which there is no tone. */
function knownTone(tone: Tone): Tone {
  return Object.hasOwn(MARKS, tone) ? tone : 'unknown';
}

function placeOf({ file, line, value }: Evidence): string {
  if (file === undefined) return value;
  return `${file}${line === undefined ? '' : `:${line}`}: ${value}`;
}

/** The remedy of what decides, and of each fault beside it. */
function remediesOf(report: Status | undefined, reason: string): string[] {
  const faults =
    report?.findings.flatMap((finding) => (finding.status === 'fail' ? [finding.reason as string] : [])) ??
    [];
  return [...new Set([reason, ...faults])].flatMap((word) => {
    if (word === '' || word === 'SandboxProven') return [];
    const known = REASONS[word as keyof typeof REASONS] as { readonly remedy: string } | undefined;
    return [
      known === undefined
        ? `${word}: a reason of another version; see its documents.`
        : `${word}: ${known.remedy}`,
    ];
  });
}

/** How the agent is, and what to do about it. */
function aboutAgent({
  node,
  agent,
  told,
  unready = '',
}: NodeDetails): readonly [Observation['tone'], string, readonly string[]] {
  const untold = told !== undefined && 'why' in told ? told.why : '';
  if (agent === '?')
    return ['unknown', `you may not list the pods of ${NAMESPACE}, so this is what the Node says alone`, []];
  if (agent === undefined) {
    const kept = node.ready === 'true' ? ', and the label says what it said last' : '';
    return [
      'fail',
      `no agent runs on this node${kept}`,
      [`See why it has none: kubectl -n ${NAMESPACE} describe daemonset ${DAEMON_SET}`],
    ];
  }
  const look = `See its log: kubectl -n ${NAMESPACE} logs ${agent.name}`;
  if (agent.state !== 'Running')
    return [
      'fail',
      `its pod ${agent.name} does not run: ${agent.state}${agent.message && `: ${agent.message}`}`,
      [look.replace('See its log', 'See why').replace(' logs ', ' describe pod ')],
    ];
  if (untold !== '') return ['unknown', `${agent.name} runs, and its report is not here: ${untold}`, []];
  if (!agent.ready)
    return ['warning', `${agent.name} runs and is not Ready${unready && `: ${unready}`}`, [look]];
  return ['pass', `${agent.name} runs and is Ready`, []];
}
