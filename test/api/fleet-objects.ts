import type { Cluster } from '../../cluster/cluster.ts';
import { SCHEDULED, SCHEDULER } from '../../lib/fleet/turns.ts';
import { DOMAIN } from '../e2e/agents.ts';
import { daemonSetPod, runningStatus } from '../lib/fleet/agent-pod.ts';
import { strategicPatch } from './admission-objects.ts';
import { type ApiUser, certificateUser } from './api-user.ts';

/** The label that the RuntimeClass selects. */
export const READY_KEY = `${DOMAIN}/ready`;
/** The label of an additional handler. */
export const KVM_KEY = `${DOMAIN}/ready-runsc-kvm`;
const PODS = '/api/v1/namespaces/gvisor-ready/pods';
const AT = '2026-11-25T00:00:00Z';

export const conditionOf = (type: string, status: string, reason: string) => ({
  type,
  status,
  reason,
  message: `set by a test: ${reason}`,
  lastHeartbeatTime: AT,
  lastTransitionTime: AT,
});

/** Those of a Node that is Ready and proven. */
export const PROVEN_CONDITIONS = [
  conditionOf('Ready', 'True', 'KubeletReady'),
  conditionOf('GVisorReady', 'True', 'SandboxProven'),
];

/** Writes the objects of a fleet in place of kubelets, agents and the DaemonSet controller. */
export class FleetObjects {
  readonly #admin: ApiUser;

  private constructor(admin: ApiUser) {
    this.#admin = admin;
  }

  static async open(cluster: Cluster): Promise<FleetObjects> {
    return new FleetObjects(await certificateUser(cluster, 'fleet-objects', ['system:masters']));
  }

  async #send(...[call]: Parameters<ApiUser>): Promise<unknown> {
    const { code, message, body } = await this.#admin(call);
    if (code < 300) return body;
    throw new Error(`${call.method} ${call.path}: ${code} ${message}`);
  }

  /** Creates a Node that is Ready and proven, with an agent that is Ready. */
  async addNode(name: string): Promise<void> {
    const labels = { [READY_KEY]: 'true', team: 'a', [`${DOMAIN}/runsc-version`]: 'release-20260223.0' };
    const metadata = { name, labels, annotations: { [`${DOMAIN}/proven-by`]: '0.1.0+1' } };
    await this.#send({ method: 'POST', path: '/api/v1/nodes', body: { metadata } });
    const nodeInfo = { containerRuntimeVersion: 'containerd://2.1.4', operatingSystem: 'linux' };
    await this.writeStatus(name, { nodeInfo, capacity: { cpu: '2' }, conditions: PROVEN_CONDITIONS });
    const pod = daemonSetPod(name);
    await this.#send({ method: 'POST', path: PODS, body: pod });
    await this.setAgent(name, true);
  }

  /** Writes a part of a Node's status, and labels with it. */
  async writeStatus(name: string, status: object, labels: object = {}): Promise<void> {
    await this.#send(strategicPatch(`/api/v1/nodes/${name}/status`, { metadata: { labels }, status }));
  }

  /** Sets readiness of the agent on a node; its container runs. */
  async setAgent(node: string, ready: boolean): Promise<void> {
    await this.#send(strategicPatch(`${PODS}/agent-${node}/status`, runningStatus(ready)));
  }

  /** Creates the installer's pod for a node, as its DaemonSet does. */
  async addInstaller(node: string): Promise<void> {
    const { metadata, spec } = daemonSetPod(node);
    const ownerReferences = metadata.ownerReferences.map((each) => ({
      ...each,
      name: 'gvisor-ready-install',
    }));
    const matchFields = [{ key: 'metadata.name', operator: 'In', values: [node] }];
    const required = { nodeSelectorTerms: [{ matchFields }] };
    const body = {
      metadata: { name: `install-${node}`, ownerReferences },
      spec: {
        ...spec,
        nodeName: undefined,
        schedulerName: SCHEDULER,
        affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } },
      },
    };
    await this.#send({ method: 'POST', path: PODS, body });
  }

  /** Lets the installer's pod of a node end well, so many seconds ago, or badly. */
  async endInstaller(node: string, outcome: number | 'failed'): Promise<void> {
    const at = new Date(Date.now() - (outcome === 'failed' ? 0 : outcome * 1_000)).toISOString();
    const terminated = { exitCode: 1, reason: 'Error', message: 'it does not boot' };
    const failed = {
      ...{ name: 'install', image: '', imageID: '', restartCount: 0, ready: false },
      state: { terminated },
    };
    const status =
      outcome === 'failed'
        ? { initContainerStatuses: [failed] }
        : {
            conditions: ['Initialized', 'Ready'].map((type) => ({
              type,
              status: 'True',
              lastTransitionTime: at,
            })),
          };
    await this.#send(strategicPatch(`${PODS}/install-${node}/status`, { status }));
  }

  /** The nodes to which installers are bound. */
  async installing(): Promise<readonly string[]> {
    const path = `${PODS}?fieldSelector=${SCHEDULED}`;
    const { items } = (await this.#send({ method: 'GET', path })) as {
      items: { spec: { nodeName?: string } }[];
    };
    return items.flatMap(({ spec }) => spec.nodeName ?? []).sort();
  }

  /** Sets the DaemonSet's status to its newest generation with this number of agents. */
  async observeDaemonSet(desired: number): Promise<void> {
    const path = '/apis/apps/v1/namespaces/gvisor-ready/daemonsets/gvisor-ready-agent';
    const { metadata } = (await this.#send({ method: 'GET', path })) as { metadata: { generation: number } };
    const counts = { currentNumberScheduled: desired, numberMisscheduled: 0, numberReady: desired };
    const status = { observedGeneration: metadata.generation, desiredNumberScheduled: desired, ...counts };
    await this.#send({ method: 'PATCH', path: `${path}/status`, body: { status } });
  }
}
