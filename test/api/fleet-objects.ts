import type { Cluster } from '../../cluster/cluster.ts';
import { DOMAIN } from '../e2e/agents.ts';
import { daemonSetPod, runningStatus } from '../lib/fleet/agent-pod.ts';
import { type ApiUser, certificateUser } from './api-user.ts';

/** The label that the RuntimeClass selects. */
export const READY_KEY = `${DOMAIN}/ready`;
/** The label of an additional handler. */
export const KVM_KEY = `${DOMAIN}/ready-runsc-kvm`;
const AT = '2026-11-25T00:00:00Z';

export const conditionOf = (type: string, status: string, reason: string) => ({
  type,
  status,
  reason,
  message: `set by a test: ${reason}`,
  lastHeartbeatTime: AT,
  lastTransitionTime: AT,
});

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
    await this.writeStatus(name, {
      nodeInfo,
      capacity: { cpu: '2' },
      conditions: [
        conditionOf('Ready', 'True', 'KubeletReady'),
        conditionOf('GVisorReady', 'True', 'SandboxProven'),
      ],
    });
    const pod = daemonSetPod(name);
    await this.#send({ method: 'POST', path: '/api/v1/namespaces/gvisor-ready/pods', body: pod });
    await this.setAgent(name, true);
  }

  /** Writes a part of a Node's status, and labels with it. */
  async writeStatus(name: string, status: object, labels: object = {}): Promise<void> {
    const body = { metadata: { labels }, status };
    await this.#send({
      method: 'PATCH',
      patch: 'strategic-merge-patch+json',
      path: `/api/v1/nodes/${name}/status`,
      body,
    });
  }

  /** Sets readiness of the agent on a node; its container runs. */
  async setAgent(node: string, ready: boolean): Promise<void> {
    await this.#send({
      method: 'PATCH',
      patch: 'strategic-merge-patch+json',
      path: `/api/v1/namespaces/gvisor-ready/pods/agent-${node}/status`,
      body: runningStatus(ready),
    });
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
