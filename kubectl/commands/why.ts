import type { V1Node, V1Pod } from '@kubernetes/client-node';
import { InvalidArgumentError } from 'commander';
import { refutationOf, statementOf } from '../../lib/fleet/refutation.ts';
import { DAEMON_SET } from '../../lib/kube/access.ts';
import { KubeError } from '../../lib/kube/error.ts';
import {
  aboutHandler,
  explainReport,
  faultsFirst,
  type HandlerRemark,
  stepsOfAll,
  stepTexts,
} from '../../lib/report/explain.ts';
import { HEADLINES, type Tone } from '../../lib/report/format.ts';
import { type NextStep, stepsFor } from '../../lib/report/next-steps.ts';
import type { Remark } from '../../lib/report/remark.ts';
import { type Api, type ApiObject, optional } from '../api/api.ts';
import { type Context, EXIT, exitCodeOf } from '../api/context.ts';
import {
  handlerIn,
  listAgents,
  type ReportResult,
  readReport,
  readUnreadyReason,
} from '../cluster/agent-reports.ts';
import { readView } from '../cluster/fleet-controller.ts';
import { type NodeSummary, summarizeNode, wasProven } from '../cluster/node-summary.ts';
import { problemJson } from '../cluster/sandboxes.ts';
import {
  ageOf,
  agesAt,
  type Explanation,
  explain,
  explanationLines,
  type Format,
  pageAddress,
  printResult,
} from '../text/output.ts';
import { handlerTone } from './health.ts';
import { type NodeRow, nodeJson } from './nodes.ts';
import { explainPod, readWarnings } from './why-pod.ts';

/** As kubectl accepts them before a slash. */
const KINDS = { node: /^no(des?)?$/, pod: /^po(ds?)?$/ } as const;

/** Parses "node/x", "pod/x", or the name of either. */
function parseTarget(word: string): { readonly kind?: 'node' | 'pod'; readonly name: string } {
  const [first = '', second, ...more] = word.split('/');
  const name = second ?? first;
  // Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
  if (more.length > 0 || !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name))
    throw new InvalidArgumentError(`"${word}" is not a name of a node or pod`);
  if (second === undefined) return { name };
  const kind = (['node', 'pod'] as const).find((each) => KINDS[each].test(first));
  if (kind === undefined)
    throw new InvalidArgumentError(`"${first}" is not a supported kind: write node/${name} or pod/${name}`);
  return { kind, name };
}

export async function why(context: Context, word: string, format: Format | undefined): Promise<number> {
  const { api, output, namespace, now } = context;
  const { kind, name } = parseTarget(word);
  const [node, pod] = await Promise.all([
    kind === 'pod' ? NOTHING : read<V1Node>(api, `/api/v1/nodes/${name}`),
    kind === 'node' ? NOTHING : read<V1Pod>(api, `/api/v1/namespaces/${namespace}/pods/${name}`),
  ]);
  if (node.found !== undefined && pod.found !== undefined)
    throw new InvalidArgumentError(
      `"${name}" is a node, and a pod of ${namespace}: write node/${name} or pod/${name}`,
    );
  let explanation: Explanation | undefined;
  if (node.found !== undefined) explanation = await explainNode(api, node.found, now());
  else if (pod.found !== undefined) explanation = await explainPod(api, pod.found, now());
  else if (kind !== 'node') explanation = await explainDenied(context, name);
  if (explanation === undefined) throw node.refused ?? pod.refused ?? notFound(kind, name, namespace);
  const { tone, reason, data, docs } = explanation;
  const { kind: found, ...rest } = data;
  const json = { kind: found, result: tone, reason, ...rest, docs: pageAddress(docs, output) };
  printResult(output, format, json, explanationLines(explanation, output));
  return tone === 'warning' && data.kind === 'Pod' ? EXIT.problem : exitCodeOf(tone);
}

/** A refusal must not hide an object of the other kind. */
type ReadResult<T> = { readonly found?: ApiObject<T> | undefined; readonly refused?: KubeError };
const NOTHING: ReadResult<never> = {};

async function read<T>(api: Api, path: string): Promise<ReadResult<T>> {
  try {
    return { found: await optional(api.get<ApiObject<T>>(path)) };
  } catch (error) {
    if (error instanceof KubeError && error.status === 403) return { refused: error };
    throw error;
  }
}

function notFound(kind: 'node' | 'pod' | undefined, name: string, namespace: string): Error {
  const node = `There is no node "${name}"`;
  const pod = `no pod "${name}" in the namespace "${namespace}"`;
  if (kind === 'node') return new Error(node);
  return new Error(kind === 'pod' ? `There is ${pod}` : `${node}, and ${pod}`);
}

/** A pod that admission denied does not exist, but its controller has an event with the message. */
async function explainDenied({ api, namespace }: Context, name: string): Promise<Explanation | undefined> {
  const warnings = await optional(readWarnings(api, namespace, 'reason=FailedCreate'), [403]);
  const own = warnings?.find(
    ({ message, about }) =>
      message.includes("ValidatingAdmissionPolicy 'gvisor-ready-") &&
      (message.includes(`"${name}" is forbidden`) || about === name || about.startsWith(`${name}-`)),
  );
  if (own === undefined) return undefined;
  return explain(
    ['fail', 'DeniedByPolicy'],
    `There is no pod ${namespace}/${name}: the API server denies the pods of ${own.about}`,
    {
      because: [own.message],
      next: ['Change the template of the pods as the message says.'],
      docs: 'docs/admission.md#messages-and-remedies',
      data: { kind: 'Denied', namespace, name, object: own.about, at: own.at },
    },
  );
}

async function readNodeDetails(api: Api, node: NodeSummary): Promise<NodeDetails> {
  const agents = await optional(listAgents(api), [403]);
  const agent = agents === undefined ? '?' : agents.find((each) => each.node === node.name);
  if (agent === '?' || agent?.state !== 'Running') return { node, agent };
  const unready = agent.ready ? '' : readUnreadyReason(api, agent);
  const [result, because] = await Promise.all([readReport(api, agent), unready]);
  return { node, agent, result, unready: because };
}

type NodeDetails = {
  readonly node: NodeSummary;
  readonly agent: NodeRow['agent'];
  readonly result?: ReportResult | undefined;
  /** "" if it is Ready or does not say. */
  readonly unready?: string;
};

async function explainNode(api: Api, object: ApiObject<V1Node>, nowMs: number): Promise<Explanation> {
  const details = await readNodeDetails(api, summarizeNode(object));
  const { node, result } = details;
  const report = result?.report;
  const agent = aboutAgent(details, api.installedIn);
  const said = report && explainReport(report, report.verdict, agesAt(nowMs));
  const handlers = aboutHandlers(details, said?.handlers ?? []);
  const { published = [], checks = [], others = [] } = said ?? {};
  const seen: Remark[] = [...checks, ...handlers, ...others];
  seen.push({ tone: agent.tone, about: 'agent', text: agent.text });
  if (!node.ready)
    seen.push({ tone: 'warning', about: 'node', text: 'the kubelet does not report the Node as Ready' });
  if (node.cordoned) seen.push({ tone: 'warning', about: 'node', text: 'it is cordoned' });
  seen.push(...(await aboutEgress(api, node)));
  const statement = statementOf(report, node.name);
  const refutation = refutationOf(node, statement);
  if (refutation && statement?.problem) {
    const isLabel = refutation.labels.includes('');
    const still = isLabel ? 'ready is still "true"' : `the Node still says ${node.status} ${node.reason}`;
    seen.push({ tone: 'fail', about: isLabel ? 'label' : 'condition', text: still });
  }
  const steps = stepsOf(details);
  const broken = handlers.filter(({ tone }) => tone !== 'pass' && tone !== 'skipped');
  const [main, reason, headline] = judgeNode(details, nowMs);
  const [tone, not] =
    main !== 'pass' || broken.length === 0
      ? ([main, ''] as const)
      : (['warning', ` except with ${broken.map(({ about }) => about).join(', ')}`] as const);
  return explain([tone, reason], `${node.name}: ${headline}${not}`, {
    because: [said?.because ?? shortMessage(node), said?.times ?? ''].filter((text) => text !== ''),
    seen: [...published, ...faultsFirst(seen)],
    next: [...stepTexts(steps, report), agent.next ?? []].flat(),
    docs: 'docs/reasons.md',
    data: nodeData(
      details,
      steps.map(({ reason }) => reason),
    ),
  });
}

/** The fleet controller says why the label is not "true"; nothing on a node that was never judged. */
async function aboutEgress(api: Api, { name, egress }: NodeSummary): Promise<Remark[]> {
  if (egress === '') return [];
  const view = await readView(api);
  const row = typeof view === 'object' ? view.nodes.find((each) => each.name === name) : undefined;
  const tones = { closed: 'pass', open: 'fail', unknown: 'warning' } as const;
  const { state = 'unknown', message = 'the fleet controller does not say' } = row?.egress ?? {};
  const label =
    (egress === 'true') === (state === 'closed') ? '' : `; its label egress-closed is "${egress}"`;
  return [{ tone: tones[state], about: 'egress', text: `${state}: ${message}${label}` }];
}

/** Sets the agent's words beside the labels of the handlers. */
function aboutHandlers({ node, result }: NodeDetails, said: readonly HandlerRemark[]): Remark[] {
  const names = new Set([...said, ...node.handlers].map(({ handler }) => handler));
  return [...names].map((handler) => {
    const remark = said.find((each) => each.handler === handler);
    const { status = '', reason = 'NoReport' } = handlerIn(result, handler)?.verdict ?? {};
    const { label = '' } = node.handlers.find((each) => each.handler === handler) ?? {};
    const agrees = (status === 'True') === (label === 'true');
    const note = agrees ? '' : `; its label ready-${handler} is ${label === '' ? 'absent' : `"${label}"`}`;
    const toneOf = () => {
      if (status === 'True' && agrees) return 'pass';
      return status === 'Unknown' ? 'unknown' : handlerTone(reason, wasProven(node, handler));
    };
    const { about = aboutHandler(handler), text = reason, below = [] } = remark ?? {};
    return { tone: toneOf(), about, text: `${text}${note}`, below };
  });
}

/** From the report, which is newer than the condition. */
function verdictOf({ node, result }: Pick<NodeDetails, 'node' | 'result'>) {
  const { status, reason } = result?.report?.verdict ?? node;
  const known = status === '' || Object.hasOwn(HEADLINES, status);
  return { status: (known ? status : 'Unknown') as keyof typeof HEADLINES | '', reason };
}

/**
 * Tone, code and headline. The scheduler goes by the label, so a node passes only if label, verdict and agent
 * agree.
 */
export function judgeNode(
  { node, agent, result }: NodeDetails,
  nowMs: number,
): readonly [tone: Tone, reason: string, headline: string] {
  const { status, reason } = verdictOf({ node, result });
  const { label, expected, ready } = node;
  const labelled = label === 'true';
  const age = node.reason === reason ? ageOf(node.since, nowMs) : '';
  const code = `${reason}${age && `, for ${age}`}`;
  const outdated = 'its label ready may be out of date: its agent does not run';
  if (labelled && agent === undefined)
    return ['warning', 'LabelWithoutAgent', 'its label ready is out of date: no agent runs here'];
  if (labelled && typeof agent === 'object' && agent.state !== 'Running')
    return ['warning', 'AgentDown', `${outdated} (${agent.state})`];
  if (status === '' && labelled)
    return ['fail', 'LabelNotByAgent', 'it is labelled ready, and no agent has judged it'];
  if (status === '') return ['unknown', 'NotJudged', 'no agent has judged it'];
  if (status === 'True' && labelled && result?.report === undefined)
    return ['unknown', reason, `gVisor was proven (${code}); what its agent says now is not known`];
  if (status === 'True' && !labelled)
    return ['fail', 'NotLabelled', `proven, but not labelled ready${label && `: the label is "${label}"`}`];
  if (status === 'True' && !ready)
    return ['warning', 'KubeletNotReady', `gVisor was proven (${code}); the kubelet is NotReady now`];
  if (!labelled && status !== 'True' && expected === false)
    return ['skipped', reason, `gVisor is not expected here (${code})`];
  const notes = {
    True: '',
    False: '; the label is not withdrawn yet',
    Unknown: '; the label is kept for a grace period',
  };
  const [tone, text] = HEADLINES[status];
  const note = labelled ? notes[status] : '';
  return [labelled && status === 'Unknown' ? 'warning' : tone, reason, `${text} (${code}${note})`];
}

function reportState(result: NodeDetails['result']): 'Read' | 'NotRead' | 'NotPermitted' | 'NoAgent' {
  if (result === undefined) return 'NoAgent';
  if (result.report !== undefined) return 'Read';
  return result.forbidden ? 'NotPermitted' : 'NotRead';
}

/** For -o json; null is absent, and `agent` is left out if it is hidden. */
function nodeData({ node, agent, result }: NodeDetails, remedies: readonly string[]): Explanation['data'] {
  const report = result?.report;
  const { at, stale, total, restart, problems } = report?.sandboxes ?? {};
  const { installed, pending, failure } = report?.installation ?? {};
  const { message: _, ...failed } = failure ?? {};
  const { findings = [], handlers = [], proof } = report ?? {};
  return {
    kind: 'Node',
    ...nodeJson({ ...node, agent }),
    report: reportState(result),
    verdict: verdictOf({ node, result }),
    evaluatedAt: report?.evaluation.at ?? null,
    provenAt: report?.provenAt ?? null,
    checks: findings.map(({ check: id, status, evidence = [], ...rest }) => {
      const { reason = null, severity = null } = { reason: undefined, severity: undefined, ...rest };
      return { id, status, reason, severity, evidence };
    }),
    proof: proof && { kind: proof.kind, reason: 'reason' in proof ? proof.reason : null },
    handlerReports: handlers.map(({ handler, verdict: { status, reason }, provenAt = null }) => {
      return { handler, status, reason, provenAt };
    }),
    sandboxes: problems && { at, stale, total, restart: restart?.state, problems: problems.map(problemJson) },
    installation: report?.installation && { installed, pending, failure: failure && failed },
    remedies,
  };
}

/** The condition's message is truncated, with the remedy at its end. */
function shortMessage({ message }: NodeSummary): string {
  return message.split('. What to do: ')[0] ?? '';
}

/** Without the steps for handlers that this node never had. */
function stepsOf({ node, result }: NodeDetails): readonly NextStep[] {
  const { report } = result ?? {};
  if (report === undefined) return stepsFor(node.reason);
  const used = report.handlers?.filter(
    ({ handler, verdict }) => handlerTone(verdict.reason, wasProven(node, handler)) !== 'skipped',
  );
  return stepsOfAll({ ...report, handlers: used });
}

function aboutAgent({ node, agent, result, unready = '' }: NodeDetails, installedIn: string) {
  const seen = (tone: Tone, text: string, next?: string) => ({ tone, text, next });
  const absent = node.label === 'true' ? 'warning' : 'fail'; // as in the headline
  if (agent === '?')
    return seen('unknown', `you may not list the pods of ${installedIn}; this is from the Node alone`);
  if (agent === undefined) {
    const label = node.label === 'true' ? ', so its label is out of date' : '';
    const describe = `kubectl -n ${installedIn} describe daemonset ${DAEMON_SET}`;
    return seen(absent, `no agent runs on this node${label}`, `See why it has none: ${describe}`);
  }
  const { name, state, message } = agent;
  if (state !== 'Running') {
    const text = `the pod ${name} does not run: ${state}${message && `: ${message}`}`;
    return seen(absent, text, `See why: kubectl -n ${installedIn} describe pod ${name}`);
  }
  if (result?.problem !== undefined)
    return seen('unknown', `${name} runs; its report is unavailable: ${result.problem}`);
  if (agent.ready) return seen('pass', `${name} runs and is Ready`);
  const text = `${name} runs and is not Ready${unready && `: ${unready}`}`;
  return seen('warning', text, `See its log: kubectl -n ${installedIn} logs ${name}`);
}
