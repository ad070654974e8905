import { pooledMap } from '../agent/async.ts';
import { DAEMON_SET, NAMESPACE } from '../agent/kube/access.ts';
import { orAbsent } from './agents.ts';
import type { Api } from './api.ts';
import { readDaemonSet } from './check-cluster.ts';
import { type CheckLine, inSection } from './check-line.ts';
import type { Context } from './context.ts';
import { count, HANDLER, named, RUNTIME_CLASS } from './known.ts';
import { listNodes, type NodeView } from './node-view.ts';
import { listClasses, selectsProven } from './pod-view.ts';

/** What `kubectl apply -k manifests/base` writes: group, resource, and whether it lies in the namespace. */
const WRITTEN = [
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
] as const;
const VERBS = ['get', 'create', 'patch'];

const INSTALL = 'docs/install.md#3-the-agent-which-proves-it';
const RUNTIMES = 'docs/distributions.md';

/** Whether the manifests can be applied, and find nodes on which they can work. */
export async function checkBefore({ api }: Context): Promise<readonly CheckLine[]> {
  const [rights, present, nodes] = await Promise.all([aboutRights(api), aboutPresent(api), listNodes(api)]);
  return [...rights, ...present, ...aboutNodes(nodes)];
}

/** Asks the API server what you may do; that writes nothing. */
async function aboutRights(api: Api): Promise<CheckLine[]> {
  const line = inSection('Before installing');
  const asked = WRITTEN.flatMap(([group, resource, inside]) =>
    VERBS.map((verb) => ({ group, resource, verb, ...(inside ? { namespace: NAMESPACE } : {}) })),
  );
  const allowed = await pooledMap(asked, 8, async (resourceAttributes) => {
    const review = {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes },
    };
    const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
    return (await api.post<{ status?: { allowed?: boolean } }>(path, review)).status?.allowed === true;
  });
  const missing = asked.filter((_, at) => !allowed[at]);
  const resources = [...new Set(missing.map(({ resource }) => resource))];
  if (missing.length === 0) return [line('pass', 'You may write all that the manifests hold', INSTALL)];
  return resources.map((resource) => {
    const verbs = missing.filter((each) => each.resource === resource).map(({ verb }) => verb);
    return line('fail', `You may not ${verbs.join(', ')} ${resource}`, INSTALL);
  });
}

/** What has a name that the manifests use. */
async function aboutPresent(api: Api): Promise<CheckLine[]> {
  const line = inSection('Before installing');
  const [classes, daemonSet, namespace] = await Promise.all([
    listClasses(api),
    readDaemonSet(api),
    orAbsent(api.get<{ status?: { phase?: string } }>(`/api/v1/namespaces/${NAMESPACE}`)),
  ]);
  const own = classes.get(RUNTIME_CLASS);
  const others = [...classes.values()].filter(
    (one) => one !== own && one.handler === HANDLER && !selectsProven(one),
  );
  return [
    own === undefined
      ? line('pass', `No RuntimeClass is named "${RUNTIME_CLASS}" yet`, INSTALL)
      : own.handler !== HANDLER
        ? line(
            'fail',
            `A RuntimeClass "${RUNTIME_CLASS}" is there with the handler "${own.handler}", which cannot be changed to "${HANDLER}": name the manifests' class otherwise, or delete that one`,
            INSTALL,
          )
        : selectsProven(own)
          ? line('pass', `The RuntimeClass "${RUNTIME_CLASS}" is there as the manifests have it`, INSTALL)
          : line(
              'warning',
              `A RuntimeClass "${RUNTIME_CLASS}" is there: its pods will go to proven nodes alone, and wait until one is proven`,
              INSTALL,
            ),
    ...others.map((one) =>
      line(
        'warning',
        `The RuntimeClass "${one.metadata.name}" has the handler "${HANDLER}" and will go on to nodes that are not proven`,
        INSTALL,
      ),
    ),
    namespace?.status?.phase === 'Terminating'
      ? line('fail', `The namespace ${NAMESPACE} is being deleted: wait until it is gone`, INSTALL)
      : daemonSet === undefined
        ? line('pass', `No DaemonSet ${NAMESPACE}/${DAEMON_SET} is there yet`, INSTALL)
        : line('warning', `It is installed already: run kubectl gvisor-ready check without --pre`, INSTALL),
  ];
}

/** On which nodes an agent can judge at all. */
function aboutNodes(nodes: readonly NodeView[]): CheckLine[] {
  const line = inSection('Before installing');
  const why = ({ os, architecture, runtime }: NodeView): string => {
    if (os !== 'linux') return os || 'no system';
    if (!['amd64', 'arm64'].includes(architecture)) return architecture;
    if (!runtime.startsWith('containerd://')) return runtime || 'no runtime';
    return /^containerd:\/\/v?1\.[0-6]\./.test(runtime) ? runtime : '';
  };
  const others = nodes.filter((node) => why(node) !== '');
  const usable = nodes.length - others.length;
  return [
    usable > 0
      ? line(
          'pass',
          `An agent can judge ${usable} of ${count(nodes.length, 'node')}: Linux on amd64 or arm64, containerd 1.7 or newer`,
          RUNTIMES,
        )
      : line(
          'fail',
          'An agent can judge no node: it needs Linux on amd64 or arm64, and containerd 1.7 or newer',
          RUNTIMES,
        ),
    ...(others.length === 0 || usable === 0
      ? []
      : [
          line(
            'warning',
            `Nodes that no agent can judge: ${named(others.map((node) => `${node.name} (${why(node)})`))}`,
            RUNTIMES,
          ),
        ]),
  ];
}
