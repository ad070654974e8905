import { status } from '@grpc/grpc-js';
import { PROBE_LABELS } from '../../../agent/proof/sandbox.ts';
import { addProcess, cgroupOf, type FakeProcess, removeProcess, sandboxArgv } from '../host/fake-process.ts';
import { Refusal, type Request } from './containerd-scripts.ts';

type Labels = Readonly<Record<string, string>>;

/** A sandbox of the fake, with the request's configuration. */
export type FakeSandbox = {
  state: 'SANDBOX_READY' | 'SANDBOX_NOTREADY';
  readonly pid: number;
  readonly labels: Labels;
  readonly config: Request;
  readonly handler: string;
};

const FIRST_PID = 5_000;
const SHIM_PID = 4_000;

/** The sandboxes of a fake containerd, what it records of them, and their processes on the host at `root`. */
export class FakeSandboxes {
  readonly byId = new Map<string, FakeSandbox>();
  /** What containerd itself records, and whether a task is there; the CRI may not know of it. */
  readonly records = new Map<string, { readonly labels: Labels; task: boolean }>();
  /** When a sandbox was created, by its id; in 1970 unless said otherwise. */
  readonly createdMs = new Map<string, number>();
  /** Tasks whose record was deleted while they ran: nobody can reach them any more. */
  readonly orphans: string[] = [];
  /** The process of a sandbox that starts: gVisor's, unless said otherwise. */
  process: (id: string, pid: number, cgroupParent: string) => FakeProcess;
  /** What the runtime tells when it is asked for PIDs: the guest's, unless said otherwise. */
  runtimePids: (pid: number) => readonly number[] = () => [1];
  /** The most sandboxes of a probe that ever existed at a time. */
  mostProbes = 0;
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

  /** Starts one as the request says, and gives its id. */
  run({ config, runtimeHandler }: Request): string {
    this.#made += 1;
    const id = `sandbox-${this.#made}`;
    this.add(id, config.labels, { config, handler: runtimeHandler });
    return id;
  }

  /** Puts the sandbox of a probe there. */
  addProbe(id: string): void {
    const metadata = { name: id, namespace: 'gvisor-ready', uid: `gvisor-probe-${id}` };
    this.add(id, PROBE_LABELS, { config: { metadata } });
  }

  /** Puts a sandbox there. */
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
    this.mostProbes = Math.max(this.mostProbes, probes.length);
    if (this.#root !== undefined)
      addProcess(this.#root, pid, this.process(id, pid, config.linux?.cgroupParent ?? ''));
  }

  /** Ends its process: a stop, or a death of its own. */
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

  /** The records that a filter of containerd's own selects. */
  recorded(filters: readonly string[]): object[] {
    const wanted = Object.fromEntries(
      [...(filters[0] ?? '').matchAll(/labels\."([^"]+)"=="([^"]+)"/g)].map(([, key, value]) => [key, value]),
    ) as Labels;
    const [, absent = ''] = /labels\."([^"]+)"~="\^\$"/.exec(filters[0] ?? '') ?? [];
    return [...this.records]
      .filter(([, { labels }]) => hasAll(labels, wanted) && (labels[absent] ?? '') === '')
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

function hasAll(labels: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([key, value]) => labels[key] === value);
}
