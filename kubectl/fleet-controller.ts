import type { Duplex } from 'node:stream';
import type { V1Deployment, V1Pod } from '@kubernetes/client-node';
import type { Waiting } from '../lib/fleet/turns.ts';
import type { FleetView } from '../lib/fleet/view.ts';
import { absentOr, list, object, text } from '../lib/report/schema.ts';
import { podsPath, versionOf } from './agent-reports.ts';
import { type Api, type ApiObject, optional, sanitizeValues } from './api.ts';

/** Name of the controller's Deployment. */
export const FLEET_DEPLOYMENT = 'gvisor-ready-fleet';

/** Label selector of the controller's pods. */
export const FLEET_SELECTOR = 'app.kubernetes.io/name=gvisor-ready,app.kubernetes.io/component=fleet';

/** The controller's port, inside its pod. */
export const FLEET_PORT = 9478;

const TIMEOUT_MS = 5_000;
/** A selector that matches no node: the response then has no rows. */
const WITHOUT_ROWS = '/fleet?labels=!kubernetes.io/hostname,kubernetes.io/hostname';

/** What is wrong with the controller, in words. */
export const PROBLEMS = {
  FleetControllerAbsent: 'there is none',
  FleetControllerScaledToZero: 'it is scaled to 0',
  FleetControllerNotReady: 'its pod is not Ready',
  FleetControllerNotResponding: 'it does not respond',
  FleetControllerBreakerOpen: 'its circuit breaker is open',
} as const;

/** The path of the controller's Deployment. */
export function fleetPath({ installedIn }: Api): string {
  return `/apis/apps/v1/namespaces/${installedIn}/deployments/${FLEET_DEPLOYMENT}`;
}

/** Reads the state of the fleet controller, which withdraws labels; undefined where the user may not read its Deployment. */
export async function readFleetController(api: Api) {
  const read = optional(api.get<ApiObject<V1Deployment>>(fleetPath(api))).then((deployment) => ({
    deployment,
  }));
  const found = await optional(read, [403]);
  if (found === undefined) return undefined;
  const { spec, status } = found.deployment ?? {};
  const state = {
    desired: found.deployment === undefined ? 0 : (spec?.replicas ?? 1),
    ready: status?.readyReplicas ?? 0,
    version: versionOf(spec?.template.spec?.containers[0]?.image ?? ''),
  };
  const because = (
    reason: keyof typeof PROBLEMS | 'Ready',
    view?: { breaker: readonly string[]; paused: readonly string[]; waiting: readonly Waiting[] },
  ) => ({ reason, ...state, ...view });
  if (found.deployment === undefined) return because('FleetControllerAbsent');
  if (state.desired === 0) return because('FleetControllerScaledToZero');
  if (state.ready === 0) return because('FleetControllerNotReady');
  const view = await readView(api);
  if (view === 'hidden') return because('Ready');
  if (view === undefined) return because('FleetControllerNotResponding');
  // Why its circuit breaker is open, the nodes whose withdrawal is paused, and those that wait for the installer.
  const breaker = view.breaker.map(({ reason }) => reason);
  return because(breaker.length > 0 ? 'FleetControllerBreakerOpen' : 'Ready', {
    breaker,
    paused: view.paused,
    waiting: view.rollout?.waiting ?? [],
  });
}

type View = Pick<FleetView, 'breaker' | 'paused' | 'alarms' | 'rollout'>;
const WAITING = object<Waiting>({ node: text, since: text, for: text });
const VIEW = object<View>({
  breaker: list(object({ reason: text })),
  paused: list(text),
  alarms: list(object({ reason: text, message: text })),
  rollout: absentOr(object({ waiting: absentOr(list(WAITING)) })),
});

/** The fleet controller's alarm of labels that agents refute; undefined without one, or if it cannot be asked. */
export async function readLabelOutdated(api: Api): Promise<string | undefined> {
  const view = await readView(api).catch(() => undefined);
  if (view === undefined || view === 'hidden') return undefined;
  return view.alarms.find(({ reason }) => reason === 'LabelOutdated')?.message;
}

/** Opens a connection to the controller's page; rejects with the reason if that is refused or no pod is Ready. */
export async function connectToFleet(api: Api): Promise<Duplex> {
  const pod = await findPod(api);
  if (pod !== undefined) return api.connectToPod(pod, FLEET_PORT);
  throw new Error(
    `The fleet controller has no Ready pod in ${api.installedIn}: see kubectl gvisor-ready status`,
  );
}

/** The path of the controller's pod; undefined if none is Ready. */
async function findPod(api: Api): Promise<string | undefined> {
  const pods = podsPath(api);
  const { items } = await api.list<V1Pod>(pods, { labelSelector: FLEET_SELECTOR });
  const pod = items.find(isReadyReplica);
  return pod && `${pods}/${pod.metadata.name}`;
}

/** What the controller says over a port-forward; undefined where it does not respond, "hidden" without permission. */
async function readView(api: Api): Promise<View | 'hidden' | undefined> {
  const found = await optional(
    findPod(api).then((pod) => ({ pod })),
    [403],
  );
  if (found === undefined) return 'hidden';
  if (found.pod === undefined) return undefined;
  const response = await api
    .getFromPod(found.pod, FLEET_PORT, WITHOUT_ROWS, TIMEOUT_MS)
    .catch(() => undefined);
  if (response?.code === 403) return 'hidden';
  if (response?.code !== 200) return undefined;
  try {
    const view: unknown = sanitizeValues(JSON.parse(response.text));
    return VIEW(view) ? (view as View) : undefined;
  } catch {
    return undefined;
  }
}

/** A kubelet may create mirror pods with any labels, but only with its Node as their controller. */
function isReadyReplica({ metadata, status }: ApiObject<V1Pod>): boolean {
  return (
    metadata.ownerReferences?.some(({ kind, controller }) => controller && kind === 'ReplicaSet') === true &&
    status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true
  );
}
