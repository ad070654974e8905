import type { V1RuntimeClass, VersionInfo } from '@kubernetes/client-node';
import { VERSION } from '../../agent/config.ts';
import { DAEMON_SET } from '../../agent/kube/access.ts';
import { OWN_KEYS } from '../../agent/node/object.ts';
import { handlerOf, listAgents, readDaemonSet } from '../agent-reports.ts';
import { type ApiObject, optional, UnreachableError } from '../api.ts';
import { type Context, EXIT } from '../context.ts';
import { listNodes, type NodeSummary } from '../node-summary.ts';
import {
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
import { listClasses, listRequirements, READY, selectsProven } from '../requirements.ts';
import { checkAdmission } from './check-admission.ts';
import { checkPreInstall } from './check-pre.ts';
import { listPods } from './pods.ts';

/** The flags of `check`. */
export type CheckFlags = { readonly output?: Format; readonly pre?: boolean };

/** A group of checks, with the section and the page of its line when it cannot be read. */
type Group = readonly [
  section: string,
  docs: string,
  run: (context: Context) => Promise<readonly CheckLine[]>,
];

const INSTALL = 'docs/install.md#3-the-agent';
const AUTOSCALING = 'docs/autoscaling.md';
const OPERATIONS = 'docs/operations.md#when-something-is-wrong';
const UNSANDBOXED = 'docs/runbooks/GVisorUnsandboxedPods.md';

const INSTALLED: readonly Group[] = [
  ['Kubernetes', 'docs/admission.md', checkVersion],
  ['RuntimeClass', INSTALL, checkClasses],
  ['Agents', OPERATIONS, checkAgents],
  ['Admission', 'docs/admission.md#installing-it', checkAdmission],
  ['Pods', UNSANDBOXED, checkPods],
];
const PRE_INSTALL: readonly Group[] = [
  ['Kubernetes', 'docs/admission.md', checkVersion],
  ['Before installing', INSTALL, checkPreInstall],
];

/** `check`: whether everything that gVisor needs in this cluster is there and consistent; with --pre, whether it can be installed. */
export async function check(context: Context, { output: format, pre = false }: CheckFlags): Promise<number> {
  const { output } = context;
  const results = await Promise.all(
    (pre ? PRE_INSTALL : INSTALLED).map(([section, docs, run]) =>
      run(context).catch((error: unknown) => {
        if (error instanceof UnreachableError) throw error;
        const text = error instanceof Error ? error.message : String(error);
        return [inSection(section)('unknown', text, docs)];
      }),
    ),
  );
  const lines = results.flat();
  const tones = lines.map(({ tone }) => tone);
  const code = tones.includes('fail') ? EXIT.problem : tones.includes('unknown') ? EXIT.incomplete : EXIT.ok;
  if (isForPrograms(format)) output.out(serialize({ checks: lines }, format));
  else printLines(output, [...checkLines(lines, output), '', summarize(lines, pre)]);
  return code;
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
  const docs = 'docs/admission.md';
  return [
    Number(major) > 1 || Number.parseInt(minor, 10) >= MIN_MINOR
      ? line('pass', `The API server is ${gitVersion}; 1.${MIN_MINOR} or newer is needed`, docs)
      : line('fail', `The API server is ${gitVersion}: the policies need 1.${MIN_MINOR} or newer`, docs),
  ];
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
  const line = inSection('RuntimeClass');
  const [classes, daemonSet] = await Promise.all([listClasses(api), optional(readDaemonSet(api), [403])]);
  const handler = handlerOf(daemonSet);
  const own = [...classes.values()].filter((each) => each.handler === handler);
  const nodes = own.every(selectsProven) ? [] : await listNodes(api);
  const stray = [...classes.values()].filter((each) => each.handler !== handler && selectsProven(each));
  const lines = own.map((each) => {
    const name = `The RuntimeClass "${each.metadata.name}" has the handler "${handler}"`;
    if (selectsProven(each)) return line('pass', `${name} and selects proven nodes`, INSTALL);
    const where = unguarded(nodes, each);
    return where === ''
      ? line('pass', `${name} and selects a pool, whose unproven nodes have the taint not-ready`, AUTOSCALING)
      : line(
          'fail',
          `${name} and no node selector ${READY}: "true": its pods go to ${where} on which gVisor is not proven`,
          INSTALL,
        );
  });
  if (own.length === 0) {
    const text = `No RuntimeClass has the handler "${handler}", which the agents prove: no pod can request gVisor`;
    lines.push(line('fail', text, INSTALL));
  }
  for (const { metadata, handler: other } of stray) {
    const text = `The RuntimeClass "${metadata.name}" has the handler "${other}", and the agents prove "${handler}": its pods run in something unproven`;
    lines.push(line('fail', text, INSTALL));
  }
  return lines;
}

/** Checks that the agents are Ready and of one version, and what they report. */
async function checkAgents({ api }: Context): Promise<readonly CheckLine[]> {
  const line = inSection('Agents');
  const [nodes, agents, daemonSet] = await Promise.all([listNodes(api), listAgents(api), readDaemonSet(api)]);
  const lines: CheckLine[] = [];
  if (daemonSet === undefined) {
    const text = `There is no DaemonSet ${api.installedIn}/${DAEMON_SET}: no node is being proven`;
    lines.push(line('fail', text, INSTALL));
  } else {
    const {
      desiredNumberScheduled: desired = 0,
      numberReady = 0,
      updatedNumberScheduled: updated = 0,
    } = daemonSet.status ?? {};
    const unready = agents
      .filter(({ ready }) => !ready)
      .map(({ node, state }) => `${node} (${state === 'Running' ? 'NotReady' : state})`);
    const ok = numberReady === desired && desired > 0;
    const where = ok || unready.length === 0 ? '' : `; not on ${nameList(unready)}`;
    lines.push(
      line(ok ? 'pass' : 'fail', `${numberReady} of ${countOf(desired, 'agent')} Ready${where}`, OPERATIONS),
    );
    if (updated < desired) {
      const text = `A rollout is in progress or held up: ${updated} of ${countOf(desired, 'agent')} of the new version`;
      lines.push(line('warning', text, 'docs/operations.md#a-rollout-that-goes-wrong'));
    }
  }
  const alive = new Set(agents.filter(({ ready }) => ready).map(({ node }) => node));
  const orphans = nodes.flatMap(({ name, ready }) => (ready === 'true' && !alive.has(name) ? [name] : []));
  const docs = 'docs/runbooks/GVisorLabelWithoutAgent.md';
  lines.push(
    orphans.length === 0
      ? line('pass', 'Every node labelled ready has a Ready agent', docs)
      : line('fail', `Labelled ready without a Ready agent: ${nameList(orphans)}`, docs),
  );
  return [...lines, ...aboutVersions(nodes), ...aboutNodes(nodes)];
}

function aboutVersions(nodes: readonly NodeSummary[]): CheckLine[] {
  const line = inSection('Agents');
  const distinct = (words: readonly string[]) => [...new Set(words)].filter(Boolean).sort();
  const versions = distinct(nodes.map(({ provenBy }) => provenBy));
  const releases = distinct(nodes.map(({ runsc }) => runsc));
  const lines: CheckLine[] = [];
  if (versions.some((version) => version !== VERSION)) {
    const text = `Agents have version ${versions.join(', ')}, this plugin has ${VERSION}`;
    lines.push(line('warning', text, OPERATIONS));
  } else if (versions.length > 0)
    lines.push(line('pass', `Agents and this plugin have version ${VERSION}`, OPERATIONS));
  if (releases.length > 1) {
    const text = `Nodes have different releases of gVisor: ${releases.join(', ')}`;
    lines.push(line('warning', text, 'docs/runbooks/GVisorMixedReleases.md'));
  } else if (releases.length > 0)
    lines.push(line('pass', `Every node has gVisor ${releases[0]}`, 'docs/operations.md#upgrade-runsc'));
  return lines;
}

function aboutNodes(nodes: readonly NodeSummary[]): CheckLine[] {
  const line = inSection('Agents');
  const proven = nodes.filter(({ ready }) => ready === 'true');
  const withReason = (some: readonly NodeSummary[]) =>
    nameList(some.map(({ name, reason }) => `${name} (${reason})`));
  const lines = [
    proven.length > 0
      ? line(
          'pass',
          `gVisor is proven on ${proven.length} of ${countOf(nodes.length, 'node')}`,
          'docs/reasons.md',
        )
      : line(
          'fail',
          'gVisor is proven on no node, so pods that request it stay Pending',
          'docs/runbooks/GVisorNoNodeReady.md',
        ),
  ];
  const failed = nodes.filter(({ ready, status }) => ready === 'false' || (ready === '' && status !== ''));
  if (failed.length > 0)
    lines.push(line('warning', `Not ready: ${withReason(failed)}`, 'docs/runbooks/GVisorNodeNotReady.md'));
  const inGrace = proven.filter(({ status }) => status !== 'True');
  if (inGrace.length > 0)
    lines.push(line('warning', `Ready in a grace period: ${withReason(inGrace)}`, 'docs/reasons.md'));
  return lines;
}

/** Checks that pods run in gVisor where their namespace requires it. */
async function checkPods(context: Context): Promise<readonly CheckLine[]> {
  const line = inSection('Pods');
  const requirements = await listRequirements(context.api);
  const required = [...requirements].flatMap(([name, value]) => (value === 'true' ? [name] : []));
  if (required.length === 0)
    return [line('pass', 'No namespace requires gVisor, so no pod violates that', UNSANDBOXED)];
  const { rows } = await listPods(context, required);
  if (rows.length === 0)
    return [line('pass', `No pod runs in ${nameList(required)}, which must run in gVisor`, UNSANDBOXED)];
  const withState = (state: string) => rows.filter(({ inGvisor }) => inGvisor === state);
  const names = (some: typeof rows) => nameList(some.map(({ namespace, name }) => `${namespace}/${name}`));
  const lines: CheckLine[] = [];
  const [wrong, open, unknown] = [withState('no'), withState('open'), withState('?')];
  if (wrong.length > 0)
    lines.push(line('fail', `Outside gVisor where it is required: ${names(wrong)}`, UNSANDBOXED));
  if (open.length > 0) {
    const text = `In gVisor with a way out to the host, where gVisor is required: ${names(open)}`;
    lines.push(line('fail', text, UNSANDBOXED));
  }
  if (unknown.length > 0) {
    const text = `What ${names(unknown)} ${unknown.length === 1 ? 'runs' : 'run'} in is unknown: ${unknown[0]?.evidence}`;
    lines.push(line('unknown', text, 'docs/runbooks/GVisorPodsUnseen.md'));
  }
  if (lines.length === 0) {
    const text = `None of ${countOf(rows.length, 'pod')} that must run in gVisor runs outside`;
    lines.push(line('pass', text, UNSANDBOXED));
  }
  return lines;
}
