import type { V1RuntimeClass, VersionInfo } from '@kubernetes/client-node';
import { VERSION } from '../../agent/config.ts';
import { DAEMON_SET } from '../../agent/kube/access.ts';
import { KubeError } from '../../agent/kube/error.ts';
import { OWN_KEYS } from '../../agent/node/object.ts';
import { errorLine } from '../../agent/sanitize.ts';
import { handlerOf, listAgents, readDaemonSet } from '../agent-reports.ts';
import { type ApiObject, optional, UnreachableError } from '../api.ts';
import { type Context, exitCodeOf, worstOf } from '../context.ts';
import { PROBLEMS, readFleetController } from '../fleet-controller.ts';
import { listNodes, type NodeSummary, stateOf } from '../node-summary.ts';
import {
  addressOf,
  type CheckLine,
  checkLines,
  countOf,
  type Format,
  inSection,
  isForPrograms,
  nameList,
  printLines,
  serialize,
} from '../output.ts';
import { labelled, listClasses, listRequirements, READY, selectsProven } from '../requirements.ts';
import { checkAdmission } from './check-admission.ts';
import { PRE_INSTALL } from './check-pre.ts';
import { agentState } from './nodes.ts';
import { listPods, podJson } from './pods.ts';

/** The flags of `check`. */
export type CheckFlags = { readonly output?: Format; readonly pre?: boolean };

/** Checks that run and fail together. */
type Run = (context: Context) => Promise<readonly CheckLine[]>;
type Section = { readonly docs: string; readonly groups: Readonly<Record<string, Run>> };

const INSTALL = 'docs/install.md#3-the-agent';
const AUTOSCALING = 'docs/autoscaling.md';
const OPERATIONS = 'docs/operations.md#when-something-is-wrong';
const UNSANDBOXED = 'docs/runbooks/GVisorUnsandboxedPods.md';

const KUBERNETES: Section = { docs: 'docs/admission.md', groups: { KubernetesVersion: checkVersion } };
const INSTALLED: Readonly<Record<string, Section>> = {
  Kubernetes: KUBERNETES,
  RuntimeClass: { docs: INSTALL, groups: { RuntimeClasses: checkClasses } },
  Agents: {
    docs: OPERATIONS,
    groups: { AgentsReady: checkAgents, LabelsHaveAgents: checkLabels, Nodes: checkNodes },
  },
  'Fleet controller': { docs: 'docs/fleet.md', groups: { FleetController: checkFleet } },
  Admission: { docs: 'docs/admission.md#installing-it', groups: { Admission: checkAdmission } },
  Pods: { docs: UNSANDBOXED, groups: { PodsInGvisor: checkPods } },
};
const BEFORE: Readonly<Record<string, Section>> = {
  Kubernetes: KUBERNETES,
  'Before installing': { docs: INSTALL, groups: PRE_INSTALL },
};

/** `check`: whether everything that gVisor needs in this cluster is there and consistent; with --pre, whether it can be installed. */
export async function check(context: Context, { output: format, pre = false }: CheckFlags): Promise<number> {
  const { output } = context;
  const results = await Promise.all(
    Object.entries(pre ? BEFORE : INSTALLED).flatMap(([section, { docs, groups }]) =>
      Object.entries(groups).map(([id, run]) =>
        run(context).catch((error: unknown): CheckLine[] => {
          if (error instanceof UnreachableError) throw error;
          const text = errorLine(error);
          const data = error instanceof KubeError ? { status: error.status } : {};
          return [{ id, section, tone: 'unknown', text, docs, data }];
        }),
      ),
    ),
  );
  const lines = results.flat();
  const result = worstOf(lines.map(({ tone }) => tone));
  if (isForPrograms(format)) {
    const checks = lines.map(({ id, tone, docs, data }) => ({
      id,
      result: tone,
      ...data,
      docs: addressOf(docs, output),
    }));
    output.out(serialize({ context: context.api.access.context, result, checks }, format));
  } else printLines(output, [...checkLines(lines, output), '', summarize(lines, pre)]);
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
  const line = inSection('Kubernetes', { KubernetesVersion: 'docs/admission.md' });
  const { gitVersion = '', major = '', minor = '' } = await api.get<Partial<VersionInfo>>('/version');
  const isEnough = Number(major) > 1 || Number.parseInt(minor, 10) >= MIN_MINOR;
  const text = isEnough
    ? `The API server is ${gitVersion}; 1.${MIN_MINOR} or newer is needed`
    : `The API server is ${gitVersion}: the policies need 1.${MIN_MINOR} or newer`;
  return [line('KubernetesVersion', isEnough ? 'pass' : 'fail', { text, version: gitVersion })];
}

/** Where pods of a class could land unproven: "" if the taint keeps them away from every unproven node of its pool. */
function unguarded(nodes: readonly NodeSummary[], { scheduling }: ApiObject<V1RuntimeClass>): string {
  const selector = Object.entries(scheduling?.nodeSelector ?? {});
  const isOwn = ({ key, effect }: { readonly key?: string; readonly effect?: string }) =>
    (key === undefined || key === OWN_KEYS.taint) && (effect === undefined || effect === 'NoSchedule');
  if (selector.length === 0 || scheduling?.tolerations?.some(isOwn)) return 'nodes';
  const bare = nodes.filter(
    ({ labels, ready, taints }) =>
      ready !== 'true' &&
      selector.every(([key, value]) => labels[key] === value) &&
      !taints.some(({ key, effect }) => key === OWN_KEYS.taint && effect === 'NoSchedule'),
  );
  return nameList(bare.map(({ name }) => name));
}

/** Checks that the classes of the handler that agents prove exist, and that their pods go to proven nodes. */
async function checkClasses({ api }: Context): Promise<readonly CheckLine[]> {
  const line = inSection('RuntimeClass', {
    SelectsProvenNodes: INSTALL,
    SelectsTaintedPool: AUTOSCALING,
    HandlerHasClass: INSTALL,
    ClassOfUnprovenHandler: INSTALL,
  });
  const [classes, daemonSet] = await Promise.all([listClasses(api), optional(readDaemonSet(api), [403])]);
  const handler = handlerOf(daemonSet);
  const own = [...classes.values()].filter((each) => each.handler === handler);
  const nodes = own.every(selectsProven) ? [] : await listNodes(api);
  const stray = [...classes.values()].filter((each) => each.handler !== handler && selectsProven(each));
  const lines = own.map((each) => {
    const runtimeClass = each.metadata.name;
    const name = `The RuntimeClass "${runtimeClass}" has the handler "${handler}"`;
    const data = { runtimeClass, handler };
    if (selectsProven(each))
      return line('SelectsProvenNodes', 'pass', {
        text: `${name} and selects proven nodes`,
        ...data,
        guard: 'NodeSelector',
      });
    const where = unguarded(nodes, each);
    if (where !== '') {
      const text = `${name} and no node selector ${READY}: "true": its pods go to ${where} on which gVisor is not proven`;
      return line('SelectsProvenNodes', 'fail', { text, ...data, guard: null });
    }
    const text = `${name} and selects a pool, whose unproven nodes have the taint not-ready`;
    return line('SelectsTaintedPool', 'pass', { text, ...data, guard: 'Taint' });
  });
  if (own.length === 0) {
    const text = `No RuntimeClass has the handler "${handler}", which the agents prove: no pod can request gVisor`;
    lines.push(line('HandlerHasClass', 'fail', { text, handler }));
  }
  for (const { metadata, handler: other } of stray) {
    const text = `The RuntimeClass "${metadata.name}" has the handler "${other}", and the agents prove "${handler}": its pods run in something unproven`;
    lines.push(
      line('ClassOfUnprovenHandler', 'fail', {
        text,
        runtimeClass: metadata.name,
        handler: other,
        proven: handler,
      }),
    );
  }
  return lines;
}

const agentLine = inSection('Agents', {
  AgentsReady: OPERATIONS,
  Rollout: 'docs/operations.md#a-rollout-that-goes-wrong',
  LabelsHaveAgents: 'docs/runbooks/GVisorLabelWithoutAgent.md',
  Versions: OPERATIONS,
  Releases: 'docs/runbooks/GVisorMixedReleases.md',
  NodesProven: 'docs/runbooks/GVisorNoNodeReady.md',
  NodesNotProven: 'docs/runbooks/GVisorNodeNotReady.md',
  NodesNotExpected: 'docs/reasons.md',
  NodesInGrace: 'docs/reasons.md',
});

/** Checks that the agents are Ready and of one revision. */
async function checkAgents({ api }: Context): Promise<readonly CheckLine[]> {
  const [agents, daemonSet] = await Promise.all([optional(listAgents(api), [403]), readDaemonSet(api)]);
  if (daemonSet === undefined) {
    const text = `There is no DaemonSet ${api.installedIn}/${DAEMON_SET}: no node is being proven`;
    return [agentLine('AgentsReady', 'fail', { text, desired: 0, ready: 0 })];
  }
  const {
    desiredNumberScheduled: desired = 0,
    numberReady: ready = 0,
    updatedNumberScheduled: updated = 0,
  } = daemonSet.status ?? {};
  const notReady = (agents ?? [])
    .filter((agent) => !agent.ready)
    .map((agent) => ({ node: agent.node, state: agentState({ agent }) }));
  const ok = ready === desired && desired > 0;
  const names = notReady.map(({ node, state }) => `${node} (${state})`);
  const where = ok || names.length === 0 ? '' : `; not on ${nameList(names)}`;
  const text = `${ready} of ${countOf(desired, 'agent')} Ready${where}`;
  const lines = [agentLine('AgentsReady', ok ? 'pass' : 'fail', { text, desired, ready, notReady })];
  if (updated < desired) {
    const text = `A rollout is in progress or held up: ${updated} of ${countOf(desired, 'agent')} of the new version`;
    lines.push(agentLine('Rollout', 'warning', { text, desired, updated }));
  }
  return lines;
}

async function checkLabels({ api }: Context): Promise<readonly CheckLine[]> {
  const [nodes, agents] = await Promise.all([listNodes(api), listAgents(api)]);
  const alive = new Set(agents.filter(({ ready }) => ready).map(({ node }) => node));
  const orphans = nodes.flatMap(({ name, ready }) => (ready === 'true' && !alive.has(name) ? [name] : []));
  const text =
    orphans.length === 0
      ? 'Every node labelled ready has a Ready agent'
      : `Labelled ready without a Ready agent: ${nameList(orphans)}`;
  return [agentLine('LabelsHaveAgents', orphans.length === 0 ? 'pass' : 'fail', { text, nodes: orphans })];
}

async function checkNodes({ api }: Context): Promise<readonly CheckLine[]> {
  const nodes = await listNodes(api);
  return [...aboutVersions(nodes), ...aboutNodes(nodes)];
}

function aboutVersions(nodes: readonly NodeSummary[]): CheckLine[] {
  const distinct = (words: readonly string[]) => [...new Set(words)].filter(Boolean).sort();
  const versions = distinct(nodes.map(({ provenBy }) => provenBy));
  const releases = distinct(nodes.map(({ runsc }) => runsc));
  const lines: CheckLine[] = [];
  const same = versions.every((version) => version === VERSION);
  if (versions.length > 0) {
    const text = same
      ? `Agents and this plugin have version ${VERSION}`
      : `Agents have version ${versions.join(', ')}, this plugin has ${VERSION}`;
    const data = { agents: versions, plugin: VERSION };
    lines.push(agentLine('Versions', same ? 'pass' : 'warning', { text, ...data }));
  }
  if (releases.length > 0) {
    const text =
      releases.length > 1
        ? `Nodes have different releases of gVisor: ${releases.join(', ')}`
        : `Every node with gVisor has ${releases[0]}`;
    lines.push(agentLine('Releases', releases.length > 1 ? 'warning' : 'pass', { text, releases }));
  }
  return lines;
}

function aboutNodes(nodes: readonly NodeSummary[]): CheckLine[] {
  const proven = nodes.filter(({ ready }) => ready === 'true');
  const withReasons = (some: readonly NodeSummary[]) =>
    some.map(({ name, reason }) => ({ node: name, reason }));
  const named = (some: readonly NodeSummary[]) =>
    nameList(some.map(({ name, reason }) => `${name} (${reason})`));
  const judged = nodes.filter((node) => stateOf(node) !== 'not judged');
  const unexpected = judged.filter(({ expected }) => expected === false);
  const expected = judged.length - unexpected.length;
  const counts = { proven: proven.length, expected, total: nodes.length };
  const text =
    proven.length > 0
      ? `gVisor is proven on ${proven.length} of ${countOf(expected, 'node')} that should run it`
      : 'gVisor is proven on no node, so pods that request it stay Pending';
  const lines = [agentLine('NodesProven', proven.length > 0 ? 'pass' : 'fail', { text, ...counts })];
  const failed = judged.filter(({ ready, expected }) => ready !== 'true' && expected !== false);
  if (failed.length > 0)
    lines.push(
      agentLine('NodesNotProven', 'warning', {
        text: `Not ready: ${named(failed)}`,
        nodes: withReasons(failed),
      }),
    );
  if (unexpected.length > 0)
    lines.push(
      agentLine('NodesNotExpected', 'pass', {
        text: `gVisor is not expected on ${countOf(unexpected.length, 'node')}: ${nameList(unexpected.map(({ name }) => name))}`,
        nodes: withReasons(unexpected),
      }),
    );
  const inGrace = proven.filter(({ status }) => status !== 'True');
  if (inGrace.length > 0)
    lines.push(
      agentLine('NodesInGrace', 'warning', {
        text: `Ready in a grace period: ${named(inGrace)}`,
        nodes: withReasons(inGrace),
      }),
    );
  return lines;
}

/** Checks that the controller runs that withdraws labels where an agent cannot. */
async function checkFleet({ api }: Context): Promise<readonly CheckLine[]> {
  const line = inSection('Fleet controller', { FleetController: 'docs/fleet.md' });
  const fleet = await readFleetController(api);
  if (fleet === undefined) {
    const text = 'You may not read the Deployment of the fleet controller';
    return [line('FleetController', 'unknown', { text, status: 403 })];
  }
  const { reason } = fleet;
  const text =
    reason === 'Ready'
      ? 'The fleet controller is Ready'
      : `The fleet controller withdraws no labels: ${PROBLEMS[reason]}`;
  return [line('FleetController', reason === 'Ready' ? 'pass' : 'fail', { text, ...fleet })];
}

/** Checks that pods run in gVisor where their namespace requires it. */
async function checkPods(context: Context): Promise<readonly CheckLine[]> {
  const line = inSection('Pods', {
    PodsInGvisor: UNSANDBOXED,
    PodsOutsideGvisor: UNSANDBOXED,
    PodsOpenToHost: UNSANDBOXED,
    PodsUnknown: 'docs/runbooks/GVisorPodsUnseen.md',
  });
  const requirements = await listRequirements(context.api);
  const required = labelled(requirements, 'true');
  if (required.length === 0)
    return [
      line('PodsInGvisor', 'pass', {
        text: 'No namespace requires gVisor, so no pod violates that',
        running: 0,
      }),
    ];
  const { rows } = await listPods(context, required);
  if (rows.length === 0) {
    const text = `No pod runs in ${nameList(required)}, which must run in gVisor`;
    return [line('PodsInGvisor', 'pass', { text, running: 0 })];
  }
  const withState = (state: string) => rows.filter(({ inGvisor }) => inGvisor === state);
  const names = (some: typeof rows) => nameList(some.map(({ namespace, name }) => `${namespace}/${name}`));
  const lines: CheckLine[] = [];
  const [wrong, open, unknown] = [withState('no'), withState('open'), withState('?')];
  if (wrong.length > 0) {
    const text = `Outside gVisor where it is required: ${names(wrong)}`;
    lines.push(line('PodsOutsideGvisor', 'fail', { text, pods: wrong.map(podJson) }));
  }
  if (open.length > 0) {
    const text = `In gVisor with a way out to the host, where gVisor is required: ${names(open)}`;
    lines.push(line('PodsOpenToHost', 'fail', { text, pods: open.map(podJson) }));
  }
  if (unknown.length > 0) {
    const text = `What ${names(unknown)} ${unknown.length === 1 ? 'runs' : 'run'} in is unknown: ${unknown[0]?.evidence}`;
    lines.push(line('PodsUnknown', 'unknown', { text, pods: unknown.map(podJson) }));
  }
  if (lines.length === 0) {
    const text = `None of ${countOf(rows.length, 'pod')} that must run in gVisor runs outside`;
    lines.push(line('PodsInGvisor', 'pass', { text, running: rows.length }));
  }
  return lines;
}
