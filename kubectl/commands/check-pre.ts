import type { V1Namespace, V1SelfSubjectAccessReview } from '@kubernetes/client-node';
import { pooledMap } from '../../agent/async.ts';
import { DAEMON_SET } from '../../agent/kube/access.ts';
import { readDaemonSet } from '../agent-reports.ts';
import { type Api, optional } from '../api.ts';
import type { Context } from '../context.ts';
import { listNodes, type NodeSummary } from '../node-summary.ts';
import { type CheckLine, countOf, inSection, nameList } from '../output.ts';
import { HANDLER, listClasses, RUNTIME_CLASS, selectsProven } from '../requirements.ts';

/** The resources of manifests/base. */
const RESOURCES = [
  ['', 'namespaces', false],
  ['', 'serviceaccounts', true],
  ['', 'resourcequotas', true],
  ['apps', 'daemonsets', true],
  ['rbac.authorization.k8s.io', 'clusterroles', false],
  ['rbac.authorization.k8s.io', 'clusterrolebindings', false],
  ['admissionregistration.k8s.io', 'validatingadmissionpolicies', false],
  ['admissionregistration.k8s.io', 'validatingadmissionpolicybindings', false],
  ['flowcontrol.apiserver.k8s.io', 'flowschemas', false],
  ['flowcontrol.apiserver.k8s.io', 'prioritylevelconfigurations', false],
  ['networking.k8s.io', 'networkpolicies', true],
  ['node.k8s.io', 'runtimeclasses', false],
] as const satisfies readonly (readonly [group: string, resource: string, namespaced: boolean])[];
/** The verbs of `kubectl apply`. */
const VERBS = ['get', 'create', 'patch'];
const REVIEWS = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
const CONCURRENCY = 8;

const INSTALL = 'docs/install.md#3-the-agent';
const line = inSection('Before installing');

/** Checks that the manifests can be applied, and that there are nodes on which agents work. */
export async function checkPreInstall({ api }: Context): Promise<readonly CheckLine[]> {
  const [permissions, existing, nodes] = await Promise.all([
    aboutPermissions(api),
    aboutExisting(api),
    listNodes(api),
  ]);
  return [...permissions, ...existing, ...aboutNodes(nodes)];
}

async function aboutPermissions(api: Api): Promise<CheckLine[]> {
  const wanted = RESOURCES.flatMap(([group, resource, namespaced]) =>
    VERBS.map((verb) => ({ group, resource, verb, ...(namespaced ? { namespace: api.installedIn } : {}) })),
  );
  const allowed = await pooledMap(wanted, CONCURRENCY, async (resourceAttributes) => {
    const review: V1SelfSubjectAccessReview = {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes },
    };
    return (await api.post<V1SelfSubjectAccessReview>(REVIEWS, review)).status?.allowed === true;
  });
  const missing = wanted.filter((_, at) => !allowed[at]);
  if (missing.length === 0)
    return [line('pass', 'You may create and patch everything in the manifests', INSTALL)];
  return [...new Set(missing.map(({ resource }) => resource))].map((resource) => {
    const verbs = missing.flatMap((each) => (each.resource === resource ? [each.verb] : []));
    return line('fail', `You may not ${verbs.join(', ')} ${resource}`, INSTALL);
  });
}

/** Looks for objects with the names of the manifests. */
async function aboutExisting(api: Api): Promise<CheckLine[]> {
  const [classes, daemonSet, namespace] = await Promise.all([
    listClasses(api),
    readDaemonSet(api),
    optional(api.get<V1Namespace>(`/api/v1/namespaces/${api.installedIn}`)),
  ]);
  const existing = `A RuntimeClass "${RUNTIME_CLASS}" exists`;
  const own = classes.get(RUNTIME_CLASS);
  const others = [...classes.values()].filter(
    (each) => each !== own && each.handler === HANDLER && !selectsProven(each),
  );
  const lines: CheckLine[] = [];
  if (own === undefined) lines.push(line('pass', `No RuntimeClass is named "${RUNTIME_CLASS}" yet`, INSTALL));
  else if (own.handler !== HANDLER) {
    const text = `${existing} with the handler "${own.handler}", which cannot be changed to "${HANDLER}": rename the class of the manifests, or delete that one`;
    lines.push(line('fail', text, INSTALL));
  } else if (selectsProven(own)) lines.push(line('pass', `${existing} as in the manifests`, INSTALL));
  else {
    const text = `${existing}: its pods will be scheduled to proven nodes only, and wait until one is proven`;
    lines.push(line('warning', text, INSTALL));
  }
  for (const { metadata } of others) {
    const text = `The RuntimeClass "${metadata.name}" has the handler "${HANDLER}" and will still be scheduled to nodes that are not proven`;
    lines.push(line('warning', text, INSTALL));
  }
  if (namespace?.status?.phase === 'Terminating')
    lines.push(
      line('fail', `The namespace ${api.installedIn} is being deleted: wait until it is gone`, INSTALL),
    );
  else if (daemonSet === undefined)
    lines.push(line('pass', `No DaemonSet ${api.installedIn}/${DAEMON_SET} exists yet`, INSTALL));
  else
    lines.push(line('warning', 'Already installed: run kubectl gvisor-ready check without --pre', INSTALL));
  return lines;
}

function aboutNodes(nodes: readonly NodeSummary[]): CheckLine[] {
  const docs = 'docs/distributions.md';
  const needs = 'Linux on amd64 or arm64, containerd 1.7 or newer';
  const unsupported = nodes.flatMap((node) => {
    const what = unsupportedPart(node);
    return what === undefined ? [] : [`${node.name} (${what})`];
  });
  const supported = nodes.length - unsupported.length;
  if (supported === 0) return [line('fail', `Agents can evaluate no node: they need ${needs}`, docs)];
  const total = countOf(nodes.length, 'node');
  const lines = [line('pass', `Agents can evaluate ${supported} of ${total}: ${needs}`, docs)];
  if (unsupported.length > 0)
    lines.push(line('warning', `Nodes that no agent can evaluate: ${nameList(unsupported)}`, docs));
  return lines;
}

function unsupportedPart({ os, architecture, runtime }: NodeSummary): string | undefined {
  if (os !== 'linux') return os || 'unknown system';
  if (!['amd64', 'arm64'].includes(architecture)) return architecture;
  if (!runtime.startsWith('containerd://')) return runtime || 'unknown runtime';
  return /^containerd:\/\/v?1\.[0-6]\./.test(runtime) ? runtime : undefined;
}
