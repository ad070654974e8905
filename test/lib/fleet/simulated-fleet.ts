import { DAMPING_MS, type Decision, decide, type Memory, TICK_MS } from '../../../controller/decide.ts';
import type { FleetTimeouts } from '../../../controller/settings.ts';
import {
  type AgentPod,
  type AgentSet,
  type FleetNode,
  isFailing,
  isLabelled,
} from '../../../lib/fleet/objects.ts';
import { refutationOf } from '../../../lib/fleet/refutation.ts';
import { NO_TURNS } from '../../../lib/fleet/turns.ts';
import type { FleetState } from '../../../lib/fleet/view.ts';

export const TIMEOUTS: FleetTimeouts = {
  agentTimeoutMs: 90_000,
  nodeAgeMs: 300_000,
  windowMs: 600_000,
  recoveryMs: 180_000,
};

const DAY_MS = 86_400_000;

/** The label of an additional handler, proven in the present boot. */
export const KVM = { handler: 'runsc-kvm', label: 'true', provenBoot: 'boot-1' } as const;

/** What is known of an empty fleet, for the page. */
export const EMPTY_FLEET: FleetState = {
  upToDate: true,
  reportIntervalMs: 15_000,
  lateMs: 0,
  silentMs: 0,
  nowMs: 100_000,
  nodes: [],
  pods: [],
  agents: undefined,
  statusOf: () => undefined,
  guards: undefined,
  breaker: [],
  paused: [],
  rolling: false,
  damped: [],
  turns: NO_TURNS,
  failedWrites: new Map(),
  failingCanaries: [],
  egress: undefined,
};

/** A proven, Ready node that is old enough. */
export function simulatedNode(name: string, changes: Partial<FleetNode> = {}): FleetNode {
  return {
    name,
    uid: `uid-${name}`,
    createdAtMs: -DAY_MS,
    label: 'true',
    egress: '',
    ready: true,
    expected: true,
    cordoned: false,
    provenBy: '0.1.0',
    boot: 'boot-1',
    provenBoot: 'boot-1',
    failedBoot: '',
    handlers: [],
    tainted: false,
    verdict: { status: 'True', reason: 'SandboxProven', message: 'proven', since: '2026-11-25T00:00:00Z' },
    gvisor: '',
    runtime: 'containerd://2.1.4',
    os: 'linux',
    ...changes,
  };
}

export function simulatedAgent(node: string, changes: Partial<AgentPod> = {}): AgentPod {
  return {
    name: `agent-${node}`,
    node,
    ready: true,
    revision: 'one',
    version: '0.1.0',
    address: '10.0.0.1',
    ...changes,
  };
}

/** A fleet in virtual time, with a decision each tick; withdrawals take effect at once. */
export class SimulatedFleet {
  nodes: FleetNode[];
  pods: AgentPod[];
  agents: AgentSet | undefined;
  nowMs = 1_000_000;
  /** Offset of the wall clock. */
  skewMs = 0;
  watchesUpSinceMs: number | undefined = 1_000_000;
  memory: Memory | undefined;
  decision: Decision | undefined;
  /** What the agents of these nodes say, if not what the Node says, and since when. */
  readonly said = new Map<
    string,
    { readonly status: string; readonly reason: string; readonly sinceMs: number }
  >();
  /** The nodes whose agents answer without being Ready. */
  readonly living = new Set<string>();
  /** Withdrawals, with the time since the start. */
  readonly withdrawn: { name: string; atMs: number; timeoutMs: number }[] = [];
  readonly #writes = new Map<string, readonly number[]>();

  constructor(names: readonly string[]) {
    this.nodes = names.map((name) => simulatedNode(name));
    this.pods = names.map((name) => simulatedAgent(name));
    this.agents = { observed: true, desired: names.length, ready: names.length };
  }

  change(name: string, changes: Partial<FleetNode>): void {
    this.nodes = this.nodes.map((node) => (node.name === name ? { ...node, ...changes } : node));
  }

  lose(...names: readonly string[]): void {
    this.pods = this.pods.map((pod) => (names.includes(pod.node) ? { ...pod, ready: false } : pod));
  }

  recover(...names: readonly string[]): void {
    this.pods = this.pods.map((pod) => (names.includes(pod.node) ? { ...pod, ready: true } : pod));
  }

  /** The agents there cannot write that gVisor does not work. */
  refute(...names: readonly string[]): void {
    this.say('False', 'RunscNotFound', ...names);
  }

  say(status: string, reason: string, ...names: readonly string[]): void {
    for (const name of names) this.said.set(name, { status, reason, sinceMs: this.nowMs });
  }

  /** As of the latest reading, one each 15 s. */
  get #refuted(): ReadonlyMap<string, boolean> {
    const readMs = this.nowMs - (this.nowMs % 15_000);
    const isRefuted = (node: FleetNode) => {
      const said = this.said.get(node.name);
      if (said === undefined || readMs < said.sinceMs) return false;
      return refutationOf(node, { verdicts: new Map([['', said]]), problem: '' }) !== undefined;
    };
    return new Map(this.nodes.map((node) => [node.name, isRefuted(node)]));
  }

  tick(): Decision {
    this.decision = decide(
      {
        nodes: this.nodes,
        pods: this.pods,
        ...(this.agents === undefined ? {} : { agents: this.agents }),
        readyAgents: new Set(this.pods.filter(({ ready }) => ready).map(({ node }) => node)),
        ...(this.watchesUpSinceMs === undefined ? {} : { watchesUpSinceMs: this.watchesUpSinceMs }),
        living: this.living,
        refuted: this.#refuted,
        withdrawn: this.#recent(),
      },
      this.memory,
      { nowMs: this.nowMs, wallMs: this.nowMs + this.skewMs },
      TIMEOUTS,
    );
    this.memory = this.decision.memory;
    const refuted = this.decision.refuted.map((name) => [name, 0] as const);
    for (const [name, timeoutMs] of [...this.decision.withdraw, ...refuted]) {
      this.withdrawn.push({ name, atMs: this.nowMs - 1_000_000, timeoutMs });
      const node = this.nodes.find((each) => each.name === name) ?? simulatedNode(name);
      const { uid, label, handlers } = node;
      const isRefuted = timeoutMs === 0;
      const isAllowed = isLabelled(node) && (isRefuted || this.decision.breaker.length === 0);
      if (isAllowed && !isRefuted) this.#writes.set(uid, [...(this.#writes.get(uid) ?? []), this.nowMs]);
      const since = new Date(this.nowMs + this.skewMs).toISOString();
      const reason = isRefuted ? 'AgentCannotWrite' : 'AgentLost';
      const verdict = { status: 'Unknown', reason, message: '', since };
      if (isRefuted || isFailing(node)) this.change(name, { verdict });
      if (!isAllowed) continue;
      this.change(name, { handlers: handlers.map((each) => ({ ...each, label: 'false' })) });
      if (label === 'true') this.change(name, { label: 'false', verdict });
    }
    return this.decision;
  }

  /** Starts another controller, which knows nothing of its predecessor. */
  restart(): void {
    this.memory = undefined;
    this.#writes.clear();
  }

  /** As the controller forgets them. */
  #recent(): ReadonlyMap<string, readonly number[]> {
    for (const [uid, times] of this.#writes)
      this.#writes.set(
        uid,
        times.filter((atMs) => this.nowMs - atMs < DAMPING_MS),
      );
    return this.#writes;
  }

  advance(seconds: number): this {
    for (let ms = 0; ms < seconds * 1_000; ms += TICK_MS) {
      this.nowMs += TICK_MS;
      this.tick();
    }
    return this;
  }

  get names(): readonly string[] {
    return this.withdrawn.map(({ name }) => name);
  }
}
