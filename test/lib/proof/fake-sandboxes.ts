import { status } from '@grpc/grpc-js';
import { PROBE_LABELS } from '../../../lib/proof/sandbox.ts';
import { addProcess, cgroupOf, type FakeProcess, removeProcess, sandboxArgv } from '../host/fake-process.ts';
import { Refusal, type Request } from './containerd-scripts.ts';

type Labels = Readonly<Record<string, string>>;

export type FakeSandbox = {
  state: 'SANDBOX_READY' | 'SANDBOX_NOTREADY';
  readonly pid: number;
  readonly labels: Labels;
  readonly config: Request;
  readonly handler: string;
};

const FIRST_PID = 5_000;
const SHIM_PID = 4_000;

/** The sandboxes and containers of a fake containerd, with their processes on the host at `root`. */
export class FakeSandboxes {
  readonly byId = new Map<string, FakeSandbox>();
  /** Containers by ID, including those that the CRI does not list; `task` if one exists. */
  readonly records = new Map<string, { readonly labels: Labels; task: boolean }>();
  /** Creation times by ID; 1970 by default. */
  readonly createdMs = new Map<string, number>();
  /** Tasks whose container was deleted while they ran, which makes them unreachable. */
  readonly orphans: string[] = [];
  /** Process of a new sandbox; gVisor's by default. */
  process: (id: string, pid: number, cgroupParent: string) => FakeProcess;
  /** PIDs that the runtime reports; the guest's by default. */
  runtimePids: (pid: number) => readonly number[] = () => [1];
  /** Highest number of probes at a time. */
  maxProbes = 0;
  readonly #root: string | undefined;
  #made = 0;

  constructor(root: string | undefined) {
    this.#root = root;
    this.process = (id, pid, parent) => ({
      argv: sandboxArgv(id),
      parentPid: SHIM_PID,
      namespacedPids: [pid, 1],
      cgroup: cgroupOf(parent, id),
    });
    if (root !== undefined)
      addProcess(root, SHIM_PID, {
        argv: ['/usr/local/bin/containerd-shim-runsc-v1', '-namespace', 'k8s.io'],
      });
  }

  /** Starts a sandbox and returns its ID. */
  run({ config, runtimeHandler }: Request): string {
    this.#made += 1;
    const id = `sandbox-${this.#made}`;
    this.add(id, config.labels, { config, handler: runtimeHandler });
    return id;
  }

  addProbe(id: string): void {
    const metadata = { name: id, namespace: 'gvisor-ready', uid: `gvisor-probe-${id}` };
    this.add(id, PROBE_LABELS, { config: { metadata } });
  }

  add(
    id: string,
    labels: Labels,
    { config = {}, handler = '' }: { config?: Request; handler?: string } = {},
  ): void {
    const pid = FIRST_PID + this.byId.size + this.#made;
    this.byId.set(id, { state: 'SANDBOX_READY', pid, labels, config, handler });
    this.records.set(id, { labels, task: true });
    const probes = [...this.byId.values()].filter(
      (sandbox) => sandbox.labels['app.kubernetes.io/component'] === 'probe',
    );
    this.maxProbes = Math.max(this.maxProbes, probes.length);
    if (this.#root !== undefined)
      addProcess(this.#root, pid, this.process(id, pid, config.linux?.cgroupParent ?? ''));
  }

  end(id: string): void {
    const sandbox = this.byId.get(id);
    if (sandbox === undefined) return;
    sandbox.state = 'SANDBOX_NOTREADY';
    const record = this.records.get(id);
    if (record !== undefined) record.task = false;
    if (this.#root !== undefined) removeProcess(this.#root, sandbox.pid);
  }

  remove(id: string): void {
    this.end(id);
    this.byId.delete(id);
    this.records.delete(id);
  }

  status(id: string): object {
    const { state, pid, config } = this.#found(id);
    const cgroup = config.linux?.cgroupParent;
    const info = {
      pid: state === 'SANDBOX_READY' ? pid : 0,
      image: 'pause',
      runtimeType: 'io.containerd.runsc.v1',
      config: cgroup === undefined ? {} : { linux: { cgroup_parent: cgroup } },
    };
    return { status: { id, state }, info: { info: JSON.stringify(info) } };
  }

  list(filter: Request): object[] {
    return [...this.byId]
      .filter(([, { state }]) => filter?.state == null || state === filter.state.state)
      .map(([id, { labels: own, state, config, handler }]) => ({
        id,
        labels: own,
        state,
        createdAt: (this.createdMs.get(id) ?? 0) * 1e6,
        metadata: config.metadata ?? { name: id, namespace: 'eval', uid: id },
        runtimeHandler: handler,
      }));
  }

  pids(id: string): object {
    const { state, pid } = this.#found(id);
    if (state !== 'SANDBOX_READY') throw new Refusal(`process of task "${id}" not found`, status.NOT_FOUND);
    return { processes: this.runtimePids(pid).map((each) => ({ pid: each })) };
  }

  /** Containers selected by a filter in containerd's syntax. */
  recorded(filters: readonly string[]): object[] {
    const required = Object.fromEntries(
      [...(filters[0] ?? '').matchAll(/labels\."([^"]+)"=="([^"]+)"/g)].map(([, key, value]) => [key, value]),
    ) as Labels;
    const [, absent = ''] = /labels\."([^"]+)"~="\^\$"/.exec(filters[0] ?? '') ?? [];
    return [...this.records]
      .filter(([, { labels }]) => hasAll(labels, required) && (labels[absent] ?? '') === '')
      .map(([id, { labels }]) => ({
        id,
        labels,
        createdAt: { seconds: Math.floor((this.createdMs.get(id) ?? 0) / 1_000) },
      }));
  }

  deleteTask(id: string): object {
    const record = this.records.get(id);
    if (record?.task !== true) throw new Refusal(`task ${id} not found`, status.NOT_FOUND);
    record.task = false;
    return {};
  }

  deleteRecord(id: string): object {
    if (this.records.get(id)?.task === true) this.orphans.push(id);
    this.records.delete(id);
    return {};
  }

  #found(id: string): FakeSandbox {
    const sandbox = this.byId.get(id);
    if (sandbox === undefined) throw new Refusal(`sandbox "${id}": not found`, status.NOT_FOUND);
    return sandbox;
  }
}

function hasAll(labels: Labels, required: Labels): boolean {
  return Object.entries(required).every(([key, value]) => labels[key] === value);
}
