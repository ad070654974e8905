import type { CoreV1Event, V1Namespace, V1Pod, V1RuntimeClass } from '@kubernetes/client-node';
import { aboutProblem, stepsForSandboxes } from '../../lib/report/explain-sandboxes.ts';
import type { Tone } from '../../lib/report/format.ts';
import { handlerKey } from '../../lib/report/node-object.ts';
import type { Remark } from '../../lib/report/remark.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import type { SandboxProblem } from '../../lib/sandboxes/problem.ts';
import { type Api, type ApiObject, optional } from '../api/api.ts';
import { handlerIn, hiddenReport, listAgents, readReports, sandboxOf } from '../cluster/agent-reports.ts';
import { listNodes, type NodeSummary } from '../cluster/node-summary.ts';
import { CLASSES, meansGvisor, READY, REQUIRE, selectedReadyLabels } from '../cluster/requirements.ts';
import { problemJson, problemsOf, sandboxesIn } from '../cluster/sandboxes.ts';
import { askedBy, COMPATIBILITY } from '../pods/features.ts';
import { ageOf, agesAt, countOf, type Explanation, explain } from '../text/output.ts';
import { PAGES } from '../text/pages.ts';

async function readPodDetails(api: Api, pod: ApiObject<V1Pod>) {
  const { namespace, name, uid } = pod.metadata;
  const spec = pod.spec ?? { containers: [] };
  const { runtimeClassName = '', nodeName = '' } = spec;
  const [found, owner, nodes, agents, warnings] = await Promise.all([
    runtimeClassName === ''
      ? undefined
      : optional(api.get<ApiObject<V1RuntimeClass>>(`${CLASSES}/${runtimeClassName}`), [403, 404]),
    optional(api.get<ApiObject<V1Namespace>>(`/api/v1/namespaces/${namespace}`), [403, 404]),
    optional(listNodes(api), [403]),
    optional(listAgents(api), [403]),
    optional(readWarnings(api, namespace, `involvedObject.uid=${uid}`), [403]),
  ]);
  const selected = found === undefined ? [] : selectedReadyLabels(found);
  const labels = selected.length === 0 ? [READY] : selected;
  const unproven = nodes?.filter((node) => node.expected !== false && !isProven(node, labels)) ?? [];
  // The condition of a Node has the reason of the main handler.
  const others = nodeName !== '' || labels.every((label) => label === READY) ? [] : unproven;
  const wanted = [nodeName, ...others.slice(0, MAX_REPORTS).map(({ name }) => name)];
  const reports = await readReports(
    api,
    agents?.filter(({ node, state }) => wanted.includes(node) && state === 'Running') ?? [],
  );
  return {
    pod,
    spec,
    id: `${namespace}/${name}`,
    /** Undefined if the pod names none; "?" if it does not exist or is hidden. */
    runtimeClass: runtimeClassName === '' ? undefined : (found ?? ('?' as const)),
    asksForGvisor: meansGvisor(found),
    /** That of the main handler if its class selects none. */
    selectedReadyLabels: labels,
    /** Whether its namespace is labelled gvisor-ready.dev/require=true. */
    required: owner === undefined ? undefined : owner.metadata.labels?.[REQUIRE] === 'true',
    nodes,
    /** The Node that it is bound to. */
    node: nodes?.find((node) => node.name === nodeName),
    result: agents === undefined ? hiddenReport(api) : reports.get(nodeName),
    /** Those of its node, or of some where an additional handler is not proven. */
    reports,
    /** Warning events, newest first. */
    warnings: warnings ?? [],
  };
}

/** Undefined for what the user may not read. */
type PodDetails = Awaited<ReturnType<typeof readPodDetails>>;

function isProven({ labels }: NodeSummary, wanted: readonly string[]): boolean {
  return wanted.every((label) => labels[label] === 'true');
}

/** Of the handler of the pod's class. */
function verdictOn(
  node: string,
  { runtimeClass, selectedReadyLabels, reports }: PodDetails,
): Verdict | undefined {
  const handler = typeof runtimeClass === 'object' ? runtimeClass.handler : '';
  const isAdditional = selectedReadyLabels.includes(handlerKey('ready', handler));
  return (isAdditional ? handlerIn(reports.get(node), handler) : reports.get(node)?.report)?.verdict;
}

/** Newest first. */
export async function readWarnings(api: Api, namespace: string, selector: string) {
  const warnings = await api.list(
    `/api/v1/namespaces/${namespace}/events`,
    { fieldSelector: `type=Warning,${selector}` },
    ({ reason = '', message = '', lastTimestamp, eventTime, involvedObject }: ApiObject<CoreV1Event>) => {
      const about = involvedObject?.name ?? '';
      return { reason, message, at: lastTimestamp || eventTime || '', about };
    },
  );
  return warnings.sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
}

const MAX_WARNINGS = 3;
const MAX_REPORTS = 16;

/** After its grace period; then a pod is stuck in Terminating. */
const TERMINATING_MS = 60_000;

export async function explainPod(api: Api, pod: ApiObject<V1Pod>, nowMs: number): Promise<Explanation> {
  const details = await readPodDetails(api, pod);
  const problems = problemsOf(pod, details.result);
  const state = explainState(details, problems, nowMs);
  const data = { ...dataOf(details), ...state.data, sandboxProblems: problems.map(problemJson) };
  if (problems.length === 0) return { ...state, data };
  const seen = [...state.seen, ...problems.map((problem) => aboutProblem(problem, agesAt(nowMs)))];
  return {
    ...state,
    data,
    seen,
    next: [...stepsForSandboxes(problems), ...state.next],
    docs: PAGES.SandboxesHang,
  };
}

/** For -o json; null stands for what the user may not read. */
function dataOf(details: PodDetails): Explanation['data'] {
  const { pod, spec, runtimeClass, asksForGvisor, required, node, warnings } = details;
  const { namespace, name, uid } = pod.metadata;
  return {
    kind: 'Pod',
    namespace,
    name,
    uid,
    phase: pod.status?.phase ?? null,
    node: spec.nodeName ?? null,
    nodeReady: (node && labelOn(details, node)[1]) || null,
    runtimeClass: spec.runtimeClassName ?? null,
    handler: runtimeClass === undefined || runtimeClass === '?' ? null : runtimeClass.handler,
    asksForGvisor,
    namespaceRequiresGvisor: required ?? null,
    warnings: warnings.map(({ reason, at }) => ({ reason, at })),
  };
}

function explainState(details: PodDetails, problems: readonly SandboxProblem[], nowMs: number): Explanation {
  const { pod, spec, warnings } = details;
  const { phase = 'Unknown', reason = '' } = pod.status ?? {};
  const events = warnings
    .filter(({ message }, at) => warnings.findIndex((other) => other.message === message) === at)
    .slice(0, MAX_WARNINGS)
    .map(({ reason, message, at }): Remark => {
      return { tone: 'warning', about: `${reason} ${ageOf(at, nowMs)} ago`, text: message };
    });
  const seen = [aboutRequest(details), ...events];
  // The object's time is that of the request plus the grace period.
  const { deletionTimestamp = '' } = pod.metadata;
  const overdueMs = nowMs - Date.parse(deletionTimestamp);
  const hangs = problems.length > 0;
  if (overdueMs >= TERMINATING_MS && spec.nodeName !== undefined)
    return explainTerminating(details, seen, { hangs, age: ageOf(deletionTimestamp, nowMs) });
  if (phase === 'Running') return explainRunning(details, seen);
  if (phase === 'Failed' && reason === 'NodeAffinity') return explainRejected(details, seen);
  if (phase === 'Succeeded' || phase === 'Failed') return explainEnded(details, seen);
  if (spec.nodeName === undefined) return explainUnscheduled(details, seen);
  return explainStarting(details, seen, hangs);
}

/** Processes hang, the kubelet is away, or finalizers hold the object. */
function explainTerminating(
  details: PodDetails,
  seen: readonly Remark[],
  { hangs, age }: { readonly hangs: boolean; readonly age: string },
): Explanation {
  const { pod, id, spec, node, result } = details;
  const { finalizers = [] } = pod.metadata;
  const sandboxes = sandboxesIn(result);
  const [cause, why] = whyTerminating(details, hangs);
  const unknown =
    typeof sandboxes === 'string' ? [{ tone: 'unknown', about: 'agent', text: sandboxes } as const] : [];
  return explain(['fail', 'Terminating'], `${id} on ${spec.nodeName} should have ended ${age} ago: ${why}`, {
    data: { cause, dueAt: pod.metadata.deletionTimestamp, finalizers },
    seen: [...seen, aboutNode(details, node), ...unknown],
    next: [`See the node: kubectl gvisor-ready why node/${spec.nodeName}`],
    docs: PAGES.SandboxesHang,
  });
}

/** A code, and what it means. */
function whyTerminating({ pod, node, nodes, result }: PodDetails, hangs: boolean): readonly [string, string] {
  const { finalizers = [] } = pod.metadata;
  const ended = ['Succeeded', 'Failed'].includes(pod.status?.phase ?? '');
  if (hangs) return ['SandboxHangs', 'a process of its sandbox hangs'];
  if (nodes !== undefined && node?.ready !== true)
    return ['KubeletAway', 'the kubelet of its node does not report'];
  if (ended && finalizers.length > 0)
    return ['Finalizers', `its processes have ended, and its finalizers remain: ${finalizers.join(', ')}`];
  if (typeof sandboxesIn(result) === 'string')
    return ['Unknown', 'whether a process of its sandbox hangs is unknown'];
  return ['NoProcessHangs', 'no process of its sandbox hangs'];
}

/** Also what its namespace requires. */
function aboutRequest({ spec, runtimeClass, asksForGvisor, required }: PodDetails): Remark {
  const namespace =
    required === undefined
      ? 'you may not see whether its namespace requires gVisor'
      : `its namespace ${required ? 'requires' : 'does not require'} gVisor`;
  const about = 'RuntimeClass';
  if (runtimeClass === undefined)
    return { tone: required ? 'fail' : 'pass', about, text: `none; ${namespace}` };
  const name = `"${spec.runtimeClassName}"`;
  if (runtimeClass === '?')
    return { tone: 'fail', about, text: `${name}, which does not exist or is hidden from you; ${namespace}` };
  const other = asksForGvisor ? '' : ', not gVisor';
  return {
    tone: !asksForGvisor && required ? 'fail' : 'pass',
    about,
    text: `${name}, handler "${runtimeClass.handler}"${other}; ${namespace}`,
  };
}

function explainRunning(details: PodDetails, seen: readonly Remark[]): Explanation {
  const { pod, id, spec, result, required, asksForGvisor } = details;
  const sandbox = sandboxOf(pod, result);
  const answer = (tone: Tone, code: string, what: string, rest: Partial<Explanation> = {}) =>
    explain([tone, code], `${id} on ${spec.nodeName} runs${what}`, {
      seen: [...seen, { tone, about: 'agent', text: sandbox.evidence }],
      data: { evidence: sandbox.reason },
      ...rest,
    });
  const seeNode = `See the node: kubectl gvisor-ready why node/${spec.nodeName}`;
  const wanted = required || asksForGvisor;
  if (sandbox.inGvisor === 'yes') return answer('pass', 'InGvisor', ' in gVisor');
  if (sandbox.inGvisor === '?') return answer('unknown', 'RuntimeUnknown', '; whether in gVisor is unknown');
  if (sandbox.inGvisor === 'open')
    return answer(wanted ? 'fail' : 'warning', 'OpenToHost', ' in gVisor with a way out to the host', {
      because: [
        'A flag of its sandbox opens it. The flag comes from an annotation dev.gvisor.* of the pod, or from the configuration of the node when the pod started.',
      ],
      next: [seeNode, 'Delete the pod, and create it again without annotations dev.gvisor.*.'],
      docs: PAGES.UnsandboxedPods,
    });
  if (!wanted)
    return answer('pass', 'OutsideAsRequested', ' outside gVisor, as requested', {
      because: ['A pod runs in gVisor if it has runtimeClassName: gvisor.'],
    });
  const [because, ...next] = asksForGvisor
    ? [
        'Its RuntimeClass means gVisor, and its process is not gVisor: the handler of this node runs something else, or did when the pod started.',
        seeNode,
        'Then delete the pod, and let it be created again.',
      ]
    : [
        'Its namespace requires gVisor. The pod was created before that, or while the policies were not in force.',
        'Delete it, and create it again with runtimeClassName: gvisor.',
      ];
  const reply = { because: [because], next, docs: PAGES.UnsandboxedPods };
  return answer('fail', 'OutsideGvisor', ' on the kernel of the node, not in gVisor', reply);
}

/** The kubelet checks the node selector again when it starts a pod, and when it restarts itself. */
function explainRejected(details: PodDetails, seen: readonly Remark[]): Explanation {
  const { pod, id, spec, node } = details;
  return explain(['fail', 'RejectedByNode'], `${id} was rejected by ${spec.nodeName}`, {
    because: [
      ...(pod.status?.message === undefined ? [] : [pod.status.message]),
      'The node lost its label after the scheduler had chosen it, or its kubelet restarted while the label was gone.',
    ],
    seen: [...seen, aboutNode(details, node)],
    next: [
      'Create it again, or let its controller do so: it then goes to a proven node.',
      ...(node !== undefined && isProven(node, details.selectedReadyLabels)
        ? []
        : [`See why the node is not ready: kubectl gvisor-ready why node/${spec.nodeName}`]),
    ],
  });
}

function explainEnded({ pod, id }: PodDetails, seen: readonly Remark[]): Explanation {
  const { phase, reason = '', message = '' } = pod.status ?? {};
  const because = [[reason, message].filter(Boolean).join(': ')].filter(Boolean);
  const state = phase === 'Succeeded' ? (['pass', 'Succeeded'] as const) : (['warning', 'Failed'] as const);
  return explain(state, `${id} has ended (${phase}) for reasons unrelated to gVisor`, { because, seen });
}

/** Quotes the scheduler, and names nodes that are not proven. */
function explainUnscheduled(details: PodDetails, all: readonly Remark[]): Explanation {
  const { pod, id, nodes, asksForGvisor } = details;
  const condition = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
  const message = condition?.status === 'False' ? condition.message : undefined;
  const because = message === undefined ? [] : [message];
  // The scheduler's event repeats the condition.
  const seen = all.filter(({ text }) => text !== message);
  const headline = `${id} waits for a node`;
  const rest = { because, seen };
  if ((details.spec.schedulingGates ?? []).length > 0)
    return explain(['warning', 'SchedulingGated'], `${headline}: its scheduling gates hold it back`, rest);
  if (!asksForGvisor) {
    const unrelated = `${headline} for reasons unrelated to gVisor, which it does not request`;
    return explain(['warning', 'UnscheduledForOtherReasons'], unrelated, rest);
  }
  if (nodes === undefined) {
    const hidden = 'You may not list nodes, so it is unknown which are proven.';
    return explain(['fail', 'Unscheduled'], headline, { because: [...because, hidden], seen });
  }
  const unproven = nodes.filter((node) => !isProven(node, details.selectedReadyLabels));
  const faulty = unproven.filter(({ expected }) => expected !== false);
  const isOther = ({ name }: NodeSummary) => verdictOn(name, details)?.reason === 'HandlerNotConfigured';
  const shown = [...(faulty.length === 0 ? unproven : faulty)].sort((a, b) => +isOther(a) - +isOther(b));
  const proven = nodes.length - unproven.length;
  const { runtimeClass, selectedReadyLabels } = details;
  const isMain = selectedReadyLabels.every((label) => label === READY) || typeof runtimeClass !== 'object';
  const what = isMain ? 'gVisor' : `The handler "${runtimeClass.handler}"`;
  const count = proven === 0 ? 'no node' : `${proven} of ${countOf(nodes.length, 'node')}`;
  const [first] = shown;
  return explain(['fail', 'Unscheduled'], headline, {
    data: { nodes: nodes.length, proven },
    because: [...because, `${what} is proven on ${count}.`],
    seen: [...seen, ...shown.slice(0, 3).map((node) => aboutNode(details, node))],
    next:
      first === undefined
        ? []
        : [`See why a node is not proven: kubectl gvisor-ready why node/${first.name}`],
  });
}

function explainStarting(details: PodDetails, seen: readonly Remark[], hangs: boolean): Explanation {
  const { pod, id, spec, node } = details;
  const [waiting] = pod.status?.containerStatuses?.flatMap(({ state }) => state?.waiting ?? []) ?? [];
  const sandboxFails = seen.some(({ about }) => about.startsWith('FailedCreatePodSandBox'));
  const stuck = details.asksForGvisor
    ? askedBy(spec).filter(({ feature }) => feature.effect === 'hangs')
    : [];
  const fields = stuck.map(({ feature }) => feature.field).join(' and ');
  const whyStarting = (): readonly [reason: string, what: string] => {
    if (stuck.length > 0) return ['FeatureHangs', `it has ${fields}, with which pods hang in gVisor`];
    if (sandboxFails) return ['SandboxDoesNotBoot', 'its sandbox does not boot'];
    if (hangs) return ['SandboxHangs', 'a process of its sandbox hangs'];
    return ['NotStarted', waiting?.reason ?? 'its sandbox is not there yet'];
  };
  const [reason, what] = whyStarting();
  const failed =
    stuck.length > 0 ||
    sandboxFails ||
    hangs ||
    (node !== undefined && !isProven(node, details.selectedReadyLabels));
  const observations = [...seen, aboutNode(details, node)];
  const verdict = verdictOn(spec.nodeName ?? '', details);
  if (verdict !== undefined) {
    const { status, reason, message } = verdict;
    const tone = status === 'True' ? 'pass' : 'fail';
    observations.push({ tone, about: 'agent', text: `${reason}: ${message}` });
  }
  return explain([failed ? 'fail' : 'warning', reason], `${id} does not start on ${spec.nodeName}: ${what}`, {
    data: { containerWaits: waiting?.reason ?? null },
    because: waiting?.message === undefined ? [] : [waiting.message],
    seen: observations,
    next: [
      ...stuck.flatMap(({ feature }) => feature.remedy ?? []),
      `See the node: kubectl gvisor-ready why node/${spec.nodeName}`,
    ],
    ...(stuck.length > 0 ? { docs: COMPATIBILITY } : {}),
  });
}

/** It keeps the pod from a node, or admits it. */
function labelOn(
  { selectedReadyLabels }: PodDetails,
  { labels }: NodeSummary,
): readonly [label: string, value: string] {
  const label =
    selectedReadyLabels.find((each) => labels[each] !== 'true') ?? selectedReadyLabels.at(-1) ?? READY;
  return [label, labels[label] ?? ''];
}

function aboutNode(details: PodDetails, node: NodeSummary | undefined): Remark {
  if (details.nodes === undefined) return { tone: 'unknown', about: 'node', text: 'you may not list nodes' };
  if (node === undefined) return { tone: 'unknown', about: 'node', text: 'it no longer exists' };
  const [key, value] = labelOn(details, node);
  const [, short = key] = key.split('/');
  const label = value === '' ? `has no label ${short}` : `is labelled ${short}: "${value}"`;
  const verdict = verdictOn(node.name, details);
  const reason = key === READY ? node.reason : verdict && `${verdict.reason}: ${verdict.message}`;
  return {
    tone: value === 'true' ? 'pass' : 'fail',
    about: 'node',
    text: `${node.name} ${label}${reason ? ` (${reason})` : ''}`,
  };
}
