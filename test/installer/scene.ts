import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { TimerOptions } from 'node:timers';
import timers from 'node:timers/promises';
import { parse } from 'smol-toml';
import { readDistribution } from '../../agent/containerd/distribution.ts';
import { packRelease } from '../../hack/gvisor-release.ts';
import { type InstallOptions, install } from '../../installer/install.ts';
import { readJournal } from '../../installer/journal.ts';
import { type Node, Refusal } from '../../installer/node.ts';
import { GENERATIONS } from '../../installer/release.ts';
import { addProcess, removeProcess, sandboxArgv } from '../agent/host/fake-process.ts';
import { tempHost } from '../agent/host/temp-host.ts';
import type { Script } from '../agent/proof/containerd-scripts.ts';
import { fakeContainerd } from '../agent/proof/fake-containerd.ts';

export const CONFIG = '/etc/containerd/config.toml';
const SECTION = 'io.containerd.cri.v1.runtime';
/** containerd's file before the first installation. */
export const ORIGINAL = `version = 3\n[plugins."${SECTION}".containerd.runtimes.runc]\n  runtime_type = "io.containerd.runc.v2"\n`;
/** Restarts the fake in the node's root: it has another PID then, and has loaded its file. */
const RESTART = `echo >>run/restarts; cp .${CONFIG} run/loaded.toml`;
/** Starts the host's programs in the node's root: a shell, or the containerd that prints its configuration. */
const NSENTER = `#!/bin/sh
while [ "$1" != -- ]; do shift; done
cd "$(dirname "$0")/.." && shift
[ "$1" = sh ] && exec "$@"
. run/dump`;
const FIRST_PID = 100;
const CANDIDATE_PID = 9_000;

/**
 * A node with a fake containerd in a temporary root, and two releases in its /opt. The fake loads its file when it is
 * restarted. Pauses end at once.
 */
export async function scene(t: TestContext, changes: Partial<Node> = {}) {
  const host = await tempHost(t, {
    [CONFIG]: ORIGINAL,
    '/run/loaded.toml': ORIGINAL,
    '/run/restarts': '',
    '/run/dump': `cat .${CONFIG}`,
    '/run/nsenter': { program: NSENTER },
    '/opt/program': 'a program\n',
    '/proc/uptime': '1000.00 1000.00\n',
    '/proc/self/stat': `7 (node) S 1 ${'0 '.repeat(17)}100 0\n`,
    '/proc/sys/kernel/osrelease': '6.12.0\n',
    '/proc/sys/user/max_user_namespaces': '10000\n',
  });
  const { root } = host;
  const at = (path: string) => join(root, path);
  const read = (path: string) => readFileSync(at(path), 'utf8');
  const restarts = () => read('/run/restarts').length;
  for (let pid = FIRST_PID; pid < FIRST_PID + 9; pid++) {
    addProcess(root, pid, { argv: ['/usr/bin/containerd'] });
    symlinkSync('/usr/bin/containerd', at(`/proc/${pid}/exe`));
  }
  const programs = { runsc: at('/opt/program'), 'containerd-shim-runsc-v1': at('/opt/program') };
  for (const name of ['release-1', 'release-2']) await packRelease(at(`/opt/${name}`), name, programs);
  useProgramsIn(t, at('/run'));
  skipPauses(t);
  const { containerd, client } = await fakeContainerd(t, {}, { root });
  const candidates = new Candidates(root);
  containerd.scripts = {
    ...candidates.scripts((method) => (request) => containerd.usual(method, request)),
    Server: () => ({ pid: FIRST_PID + restarts() }),
    Status: () => ({ status: { conditions: [] }, info: { config: loaded(read('/run/loaded.toml')) } }),
  };
  const said: string[] = [];
  const node: Node = {
    ...{ root, host, client, socket: containerd.socket, distribution: await readDistribution(host) },
    ...{ containerdConfig: CONFIG, handler: 'runsc', restartCommand: RESTART, noRestart: false, quietMs: 0 },
    report: ({ step, state, text }) => void said.push(`${step} ${state} ${text}`),
    ...changes,
  };
  return {
    ...{ root, read, node, containerd, candidates, restarts, said },
    write: (path: string, text: string) => writeFileSync(at(path), text),
    /** Adds a running pod whose shim is this program of the node. */
    addPod: async (id: string, handler: string, shim: string) => {
      const [uid, bundle] = ['01234567-89ab-cdef-0123-456789abcdef', at(`${client.bundles}/${id}`)];
      const config = {
        linux: { cgroupParent: `/kubepods/pod${uid}` },
        metadata: { name: 'pod', namespace: 'eval', uid },
      };
      containerd.sandboxes.add(id, {}, { config, handler });
      await mkdir(bundle, { recursive: true });
      await writeFile(`${bundle}/shim-binary-path`, shim);
    },
    journal: (handler = 'runsc') => readJournal(root, handler),
    install: (release = 'release-1', options: Partial<InstallOptions> = {}, on: Partial<Node> = {}) =>
      install(
        { ...node, ...on },
        {
          ...{ release: at(`/opt/${release}`), flags: new Map(), dryRun: false, retryNow: false },
          ...{ takeOver: false, ...options },
        },
      ),
    /** What a run may change: the file, the loaded file, the number of restarts, and what is beside the generations. */
    state: () => ({
      ...{ config: read(CONFIG), loaded: read('/run/loaded.toml'), restarts: restarts() },
      files: existsSync(at(GENERATIONS)) ? readdirSync(at(GENERATIONS)).sort() : [],
    }),
  };
}

/** What a run refuses, as "STEP: MESSAGE (REASON)". */
export async function refusal(work: Promise<void>): Promise<string> {
  return work.then(
    () => 'nothing was refused',
    (error: unknown) => {
      if (!(error instanceof Refusal)) throw error;
      return `${error.step}: ${error.message} (${error.reason})`;
    },
  );
}

/** containerd's services for tasks in the installer's namespace; `argv` and `output` are of the sandbox of a candidate. */
class Candidates {
  readonly ids = new Set<string>();
  argv = sandboxArgv;
  output = 'runsc version release-1\n';
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** `usual` answers in other namespaces. */
  scripts(usual: (method: string) => Script): Readonly<Record<string, Script>> {
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    let output = '';
    const own: Readonly<Record<string, Script>> = {
      'Containers.Create': ({ container }) => this.ids.add(container.id),
      'Containers.List': () => ({ containers: [...this.ids].map((id) => ({ id })) }),
      'Containers.Delete': ({ id }) => ({ deleted: this.ids.delete(id) }),
      'Tasks.Create': ({ containerId, stdout }) => {
        output = join(this.#root, stdout);
        addProcess(this.#root, CANDIDATE_PID, { argv: this.argv(containerId) });
        return { pid: CANDIDATE_PID };
      },
      'Tasks.Wait': () => ended.then(() => ({ exitStatus: 0 })),
      'Tasks.Start': () => {
        writeFileSync(output, this.output);
        end();
        return {};
      },
      'Tasks.Delete': () => {
        removeProcess(this.#root, CANDIDATE_PID);
        return {};
      },
    };
    return Object.fromEntries(
      Object.entries(own).map(([method, script]) => [
        method,
        (request, namespace) => (namespace === 'gvisor-ready' ? script : usual(method))(request, namespace),
      ]),
    );
  }
}

/** The configuration in the status of a containerd that has loaded a file. */
function loaded(text: string): string {
  type Table = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  const { plugins } = parse(text) as unknown as {
    plugins: { [SECTION]: { containerd: { runtimes: Table } } };
  };
  const runtimes = Object.entries(plugins[SECTION].containerd.runtimes).map(([name, table]) => [
    name,
    { runtimeType: table.runtime_type, runtimePath: table.runtime_path, options: table.options },
  ]);
  return JSON.stringify({ containerd: { runtimes: Object.fromEntries(runtimes) } });
}

function useProgramsIn(t: TestContext, directory: string): void {
  const path = process.env.PATH;
  process.env.PATH = `${directory}:${path}`;
  t.after(() => {
    process.env.PATH = path;
  });
}

/** Has pauses end at once, and the monotonic clock jump by them; not timeouts, which have a signal. */
function skipPauses(t: TestContext): void {
  const [now, pause] = [performance.now.bind(performance), timers.setTimeout];
  let skippedMs = 0;
  t.mock.method(performance, 'now', () => now() + skippedMs);
  t.mock.method(timers, 'setTimeout', (ms: number, value?: unknown, options?: TimerOptions) => {
    if (options?.signal !== undefined) return pause(ms, value, options);
    skippedMs += ms;
    return pause(1);
  });
}
