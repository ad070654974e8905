import type { V1Namespace, V1RuntimeClass } from '@kubernetes/client-node';
import { firstOf } from '../../lib/fleet/objects.ts';
import { DAEMON_SET } from '../../lib/kube/access.ts';
import type { Tone } from '../../lib/report/format.ts';
import { readDaemonSet } from '../agent-reports.ts';
import { type ApiObject, optional } from '../api.ts';
import type { Context } from '../context.ts';
import { listNodes, type NodeSummary } from '../node-summary.ts';
import { type CheckLine, countOf, inSection } from '../output.ts';
import {
  HANDLER,
  listClasses,
  RUNTIME_CLASS,
  readyLabelOf,
  readyLabels,
  selectsProven,
} from '../requirements.ts';

const INSTALL = 'docs/install.md#3-the-agent';
const line = inSection('Before installing', {
  RuntimeClassName: INSTALL,
  OtherRuntimeClass: INSTALL,
  Namespace: INSTALL,
  NotInstalled: INSTALL,
  SupportedNodes: 'docs/distributions.md',
});

/** The checks before an installation: each is unknown alone where the user may not read what it needs. */
export const PRE_INSTALL = {
  RuntimeClasses: aboutClasses,
  Namespace: aboutNamespace,
  NotInstalled: aboutInstallation,
  SupportedNodes: aboutNodes,
} as const;

async function aboutClasses({ api }: Context): Promise<CheckLine[]> {
  const classes = await listClasses(api);
  const own = classes.get(RUNTIME_CLASS);
  const others = [...classes.values()].filter(
    (each) =>
      each !== own && (each.handler === HANDLER || readyLabels(each).length > 0) && !selectsProven(each),
  );
  return [
    line('RuntimeClassName', ...judgeOwn(own), {
      runtimeClass: RUNTIME_CLASS,
      handler: own?.handler ?? null,
    }),
    ...others.map(({ metadata: { name }, handler }) => {
      const label = readyLabelOf(handler);
      const text = `The RuntimeClass "${name}" has the handler "${handler}" and no node selector ${label}: "true": its pods will still be scheduled to nodes where that is not proven`;
      return line('OtherRuntimeClass', 'warning', text, { runtimeClass: name, handler, label });
    }),
  ];
}

/** Whether the class of the manifests can be applied over one with its name. */
function judgeOwn(own: ApiObject<V1RuntimeClass> | undefined): [tone: Tone, text: string] {
  const existing = `A RuntimeClass "${RUNTIME_CLASS}" exists`;
  if (own === undefined) return ['pass', `No RuntimeClass is named "${RUNTIME_CLASS}" yet`];
  if (selectsProven(own)) return ['pass', `${existing} as in the manifests`];
  if (own.handler === HANDLER)
    return [
      'warning',
      `${existing}: its pods will be scheduled to proven nodes only, and wait until one is proven`,
    ];
  const fixed = `with the handler "${own.handler}", which cannot be changed to "${HANDLER}"`;
  return ['fail', `${existing} ${fixed}: rename the class of the manifests, or delete that one`];
}

async function aboutNamespace({ api }: Context): Promise<CheckLine[]> {
  const namespace = api.installedIn;
  const found = await optional(api.get<V1Namespace>(`/api/v1/namespaces/${namespace}`));
  if (found?.status?.phase !== 'Terminating') return [];
  const text = `The namespace ${namespace} is being deleted: wait until it is gone`;
  return [line('Namespace', 'fail', text, { namespace, phase: 'Terminating' })];
}

async function aboutInstallation({ api }: Context): Promise<CheckLine[]> {
  const installed = (await readDaemonSet(api)) !== undefined;
  const text = installed
    ? 'Already installed: run kubectl gvisor-ready check without --pre'
    : `No DaemonSet ${api.installedIn}/${DAEMON_SET} exists yet`;
  const data = { namespace: api.installedIn, daemonSet: DAEMON_SET, installed };
  return [line('NotInstalled', installed ? 'warning' : 'pass', text, data)];
}

async function aboutNodes({ api }: Context): Promise<CheckLine[]> {
  const nodes = await listNodes(api);
  const needs = 'Linux on amd64 or arm64, containerd 1.7 or newer';
  const unsupported = nodes.flatMap((node) => {
    const because = unsupportedPart(node);
    return because === undefined ? [] : [{ ...node, because }];
  });
  const supported = nodes.length - unsupported.length;
  const listed = unsupported.map(({ name, os, architecture, runtime }) => {
    return { name, os, architecture, runtime };
  });
  const data = { supported, total: nodes.length, unsupported: listed };
  if (supported === 0)
    return [line('SupportedNodes', 'fail', `Agents can evaluate no node: they need ${needs}`, data)];
  const text = `Agents can evaluate ${supported} of ${countOf(nodes.length, 'node')}: ${needs}`;
  const names = unsupported.map(({ name, because }) => `${name} (${because})`);
  const others = `Nodes that no agent can evaluate: ${firstOf(names)}`;
  return [
    line('SupportedNodes', 'pass', text, data),
    ...(names.length === 0 ? [] : [line('SupportedNodes', 'warning', others, data)]),
  ];
}

function unsupportedPart({ os, architecture, runtime }: NodeSummary): string | undefined {
  if (os !== 'linux') return os || 'unknown system';
  if (!['amd64', 'arm64'].includes(architecture)) return architecture;
  if (!runtime.startsWith('containerd://')) return runtime || 'unknown runtime';
  return /^containerd:\/\/v?1\.[0-6]\./.test(runtime) ? runtime : undefined;
}
