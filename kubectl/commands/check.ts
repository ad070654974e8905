import type { V1RuntimeClass, VersionInfo } from '@kubernetes/client-node';
import { errorLine } from '../../lib/base/sanitize.ts';
import { agentSettingsOf, firstOf } from '../../lib/fleet/objects.ts';
import { KubeError } from '../../lib/kube/error.ts';
import { OWN_KEYS } from '../../lib/report/node-object.ts';
import { type ApiObject, optional, UnreachableError } from '../api/api.ts';
import { type Context, exitCodeOf, worstOf } from '../api/context.ts';
import { readDaemonSet } from '../cluster/agent-reports.ts';
import { readView } from '../cluster/fleet-controller.ts';
import { listNodes, type NodeSummary } from '../cluster/node-summary.ts';
import { listClasses, readyLabelOf, selectedReadyLabels, selectsProven } from '../cluster/requirements.ts';
import {
  type CheckLine,
  checkLines,
  countOf,
  type Format,
  inSection,
  pageAddress,
  pageOf,
  printResult,
} from '../text/output.ts';
import { checkAdmission } from './check-admission.ts';
import { PRE_INSTALL } from './check-pre.ts';
import { type FleetPart, judgeFleet } from './health.ts';

export type CheckFlags = { readonly output?: Format; readonly pre?: boolean };

/** Checks that run and fail together. */
type Group = {
  readonly id: string;
  readonly section: string;
  readonly lines: Promise<readonly CheckLine[]>;
};

function groupsOf(context: Context, pre: boolean): Group[] {
  const version = { id: 'KubernetesVersion', section: 'Kubernetes', lines: checkVersion(context) };
  if (pre) {
    const section = 'Before installing';
    const before = Object.entries(PRE_INSTALL);
    return [version, ...before.map(([id, run]) => ({ id, section, lines: run(context) }))];
  }
  const view = readView(context.api);
  const fleet = Object.entries(judgeFleet(context, view)).map(([key, parts]): Group => {
    return { id: idOf(key), section: FLEET, lines: parts.then((found) => found.map(fleetLine)) };
  });
  return [
    version,
    { id: 'RuntimeClasses', section: 'RuntimeClass', lines: checkClasses(context) },
    ...fleet,
    { id: 'Admission', section: 'Admission', lines: checkAdmission(context, view) },
  ];
}

/** `check`; with --pre, whether gVisor can be installed. */
export async function check(context: Context, { output: format, pre = false }: CheckFlags): Promise<number> {
  const { output } = context;
  const results = await Promise.all(
    groupsOf(context, pre).map(({ id, section, lines }) =>
      lines.catch((error: unknown): CheckLine[] => {
        if (error instanceof UnreachableError) throw error;
        const text = errorLine(error);
        const data = error instanceof KubeError ? { status: error.status } : {};
        return [{ id, section, tone: 'unknown', text, docs: pageOf(id), data }];
      }),
    ),
  );
  // Several groups need the nodes.
  const lines = results
    .flat()
    .filter(
      ({ section, text }, at, all) =>
        at === all.findIndex((each) => each.section === section && each.text === text),
    );
  const result = worstOf(lines.map(({ tone }) => tone));
  const checks = lines.map(({ id, tone, docs, data }) => {
    return { id, result: tone, ...data, docs: pageAddress(docs, output) };
  });
  const json = { context: context.api.access.context, result, checks };
  printResult(output, format, json, [...checkLines(lines, output), '', summarize(lines, pre)]);
  return exitCodeOf(result);
}

function summarize(lines: readonly CheckLine[], pre: boolean): string {
  const numberOf = (tone: CheckLine['tone']) => lines.filter((line) => line.tone === tone).length;
  const [warnings, failed, unknown] = [numberOf('warning'), numberOf('fail'), numberOf('unknown')];
  const parts = [
    `${numberOf('pass')} passed`,
    ...(warnings > 0 ? [countOf(warnings, 'warning')] : []),
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(unknown > 0 ? [`${unknown} unknown`] : []),
  ];
  const ready = pre && failed + unknown === 0 ? ': it can be installed' : '';
  return `${parts.join(', ')}${ready}.`;
}

/** ValidatingAdmissionPolicy v1 came with 1.30. */
const MIN_MINOR = 30;

async function checkVersion({ api }: Context): Promise<readonly CheckLine[]> {
  const line = inSection('Kubernetes');
  const { gitVersion = '', major = '', minor = '' } = await api.get<Partial<VersionInfo>>('/version');
  const isEnough = Number(major) > 1 || Number.parseInt(minor, 10) >= MIN_MINOR;
  const text = isEnough
    ? `The API server is ${gitVersion}; 1.${MIN_MINOR} or newer is needed`
    : `The API server is ${gitVersion}: the policies need 1.${MIN_MINOR} or newer`;
  return [line('KubernetesVersion', isEnough ? 'pass' : 'fail', text, { version: gitVersion })];
}

/** Where pods of a class could land unproven; "" if the taint guards every such node of its pool. */
function unguarded(nodes: readonly NodeSummary[], { scheduling }: ApiObject<V1RuntimeClass>): string {
  const selector = Object.entries(scheduling?.nodeSelector ?? {});
  const isOwn = ({ key, effect }: { readonly key?: string; readonly effect?: string }) =>
    (key === undefined || key === OWN_KEYS.taint) && (effect === undefined || effect === 'NoSchedule');
  if (selector.length === 0 || scheduling?.tolerations?.some(isOwn)) return 'nodes';
  const bare = nodes.filter(
    ({ labels, label, tainted }) =>
      label !== 'true' && selector.every(([key, value]) => labels[key] === value) && !tainted,
  );
  return firstOf(bare.map(({ name }) => name));
}

/** Classes must exist for the agents' handlers, and send pods to nodes where these are proven. */
async function checkClasses({ api }: Context): Promise<readonly CheckLine[]> {
  const line = inSection('RuntimeClass');
  const [classes, daemonSet] = await Promise.all([listClasses(api), optional(readDaemonSet(api), [403])]);
  const { handlers, taints } = agentSettingsOf(daemonSet);
  const [main] = handlers;
  const all = [...classes.values()];
  const nodes = all.every((each) => each.handler !== main || selectsProven(each, main))
    ? []
    : await listNodes(api);
  const lines = all.flatMap((each) => {
    const { handler } = each;
    const runtimeClass = each.metadata.name;
    const name = `The RuntimeClass "${runtimeClass}" has the handler "${handler}"`;
    const data = { runtimeClass, handler };
    if (!handlers.includes(handler)) {
      if (selectedReadyLabels(each).length === 0) return [];
      const text = `${name}, and the agents prove "${handlers.join('", "')}": its pods run in something unproven`;
      return [line('ClassOfUnprovenHandler', 'fail', text, { ...data, proven: handlers })];
    }
    if (selectsProven(each, main)) {
      const text = `${name} and selects proven nodes`;
      return [line('SelectsProvenNodes', 'pass', text, { ...data, guard: 'NodeSelector' })];
    }
    const where = handler === main && taints ? unguarded(nodes, each) : 'nodes';
    if (where === '') {
      const text = `${name} and selects a pool, whose unproven nodes have the taint not-ready`;
      return [line('SelectsTaintedPool', 'pass', text, { ...data, guard: 'Taint' })];
    }
    const label = readyLabelOf(handler, main);
    const what = handler === main ? 'gVisor' : `"${handler}"`;
    const text = `${name} and no node selector ${label}: "true": its pods go to ${where} on which ${what} is not proven`;
    return [line('SelectsProvenNodes', 'fail', text, { ...data, guard: null, label })];
  });
  const missing = handlers.filter((handler) => all.every((each) => each.handler !== handler));
  return [
    ...lines,
    ...missing.map((handler) => {
      const text = `No RuntimeClass has the handler "${handler}", which the agents prove: no pod can request it`;
      return line('HandlerHasClass', 'fail', text, { handler, label: readyLabelOf(handler, main) });
    }),
  ];
}

const FLEET = 'Fleet';

function idOf(key: string): string {
  return `${key.slice(0, 1).toUpperCase()}${key.slice(1)}`;
}

function fleetLine({ key, about, tone, reasons, text, groups = {}, data }: FleetPart): CheckLine {
  const names = Object.entries(groups).flatMap(([head, some]) =>
    some.map(({ reason, nodes }) => `${head.toLowerCase()}: ${firstOf(nodes)} (${reason})`),
  );
  const id = idOf(key);
  return {
    id,
    section: FLEET,
    tone,
    text: `${about}: ${[text, ...names].join('; ')}`,
    docs: pageOf(...reasons.slice(0, 1), id),
    data: { reasons, ...data },
  };
}
