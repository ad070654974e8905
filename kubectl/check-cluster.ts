import { DAEMON_SET, NAMESPACE } from '../agent/kube/access.ts';
import { orAbsent } from './agents.ts';
import type { Api } from './api.ts';
import { type CheckLine, inSection } from './check-line.ts';
import type { Context } from './context.ts';
import { HANDLER, READY } from './known.ts';
import { listClasses, selectsProven } from './pod-view.ts';

/** ValidatingAdmissionPolicy v1 came with 1.30. */
const OLDEST_MINOR = 30;

/** The version of the API server. */
export async function checkVersion({ api }: Context): Promise<readonly CheckLine[]> {
  const line = inSection('Kubernetes');
  const {
    gitVersion = '',
    major = '',
    minor = '',
  } = await api.get<{ gitVersion?: string; major?: string; minor?: string }>('/version');
  const enough = Number(major) > 1 || Number.parseInt(minor, 10) >= OLDEST_MINOR;
  const docs = 'docs/admission.md';
  return [
    enough
      ? line('pass', `The API server is ${gitVersion}; 1.${OLDEST_MINOR} or newer is needed`, docs)
      : line('fail', `The API server is ${gitVersion}: the policies need 1.${OLDEST_MINOR} or newer`, docs),
  ];
}

/** The DaemonSet of the agents as far as it is read. */
export type DaemonSet = {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly {
          readonly image?: string;
          readonly env?: readonly { readonly name: string; readonly value?: string }[];
        }[];
      };
    };
  };
  readonly status: {
    readonly desiredNumberScheduled: number;
    readonly numberReady?: number;
    readonly updatedNumberScheduled?: number;
  };
};

/** The DaemonSet of the agents; undefined where there is none. */
export function readDaemonSet(api: Api): Promise<DaemonSet | undefined> {
  return orAbsent(api.get<DaemonSet>(`/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets/${DAEMON_SET}`));
}

/** The handler that the agents are told to prove. */
export function handlerOf(daemonSet: DaemonSet | undefined): string {
  const env = daemonSet?.spec.template.spec.containers[0]?.env;
  return env?.find(({ name }) => name === 'HANDLER')?.value ?? HANDLER;
}

/** The runtime classes: those of the handler that agents prove, and whether their pods keep to proven nodes. */
export async function checkClasses({ api }: Context): Promise<readonly CheckLine[]> {
  const line = inSection('RuntimeClass');
  const docs = 'docs/install.md#3-the-agent-which-proves-it';
  const [classes, daemonSet] = await Promise.all([listClasses(api), orAbsent(readDaemonSet(api), [403])]);
  const handler = handlerOf(daemonSet);
  const all = [...classes.values()];
  const ours = all.filter((one) => one.handler === handler);
  const stray = all.filter((one) => one.handler !== handler && selectsProven(one));
  return [
    ...(ours.length === 0
      ? [
          line(
            'fail',
            `No RuntimeClass has the handler "${handler}", which the agents prove: no pod can ask for gVisor`,
            docs,
          ),
        ]
      : []),
    ...ours.map((one) =>
      selectsProven(one)
        ? line(
            'pass',
            `The RuntimeClass "${one.metadata.name}" has the handler "${handler}" and keeps to proven nodes`,
            docs,
          )
        : line(
            'fail',
            `The RuntimeClass "${one.metadata.name}" has the handler "${handler}" and no node selector ${READY}: "true": its pods go to nodes on which gVisor is not proven`,
            docs,
          ),
    ),
    ...stray.map((one) =>
      line(
        'fail',
        `The RuntimeClass "${one.metadata.name}" has the handler "${one.handler}", and the agents prove "${handler}": nothing proves what its pods run in`,
        docs,
      ),
    ),
  ];
}
