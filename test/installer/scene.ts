import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import type { TimerOptions } from 'node:timers';
import timers from 'node:timers/promises';
import { packRelease } from '../../hack/gvisor-release.ts';
import type { Node } from '../../installer/base/node.ts';
import { Refusal } from '../../installer/base/refusal.ts';
import { type InstallOptions, install } from '../../installer/commands/install.ts';
import { criSectionIn } from '../../installer/config/handler-config.ts';
import { readJournal } from '../../installer/journal/journal.ts';
import { GENERATIONS } from '../../installer/release/generation.ts';
import { readDistribution } from '../../lib/containerd/distribution.ts';
import { parseToml, toPlain } from '../../lib/containerd/toml.ts';
import { addProcess, removeProcess, sandboxArgv } from '../lib/host/fake-process.ts';
import { tempHost } from '../lib/host/temp-host.ts';
import type { Script } from '../lib/proof/containerd-scripts.ts';
import { fakeContainerd } from '../lib/proof/fake-containerd.ts';

export const CONFIG = '/etc/containerd/config.toml';
/** The configuration that containerd has loaded. */
export const LOADED = '/run/loaded.toml';
/** The program of containerd. */
export const PROGRAM = '/usr/bin/containerd';
/** What `containerd config dump` runs, in the node's root. */
export const DUMP = '/run/dump';
const TABLE = 'plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc';
/** containerd's file before the first installation. */
export const ORIGINAL = `version = 3\n[${TABLE}]\n  runtime_type = "io.containerd.runc.v2"\n`;
/** Starts the host's programs in the node's root: a shell, systemd, or the running containerd, which prints a configuration. */
const NSENTER = `#!/bin/sh
while [ "$1" != -- ]; do shift; done
cd "$(dirname "$0")/.." && shift
[ "$1" = sh ] && exec "$@"
[ "$1" = systemctl ] && exec cat ./run/unit
[ "$1" = /proc/$((100 + $(wc -c <run/restarts)))/exe ] || exit 127
[ "$2" = config ] && exec cat ./run/defaults
. .${DUMP}`;
/** Prints the root file of `--config`, and what that imports. */
export const CAT = `cat .$3; set -f
for f in $(sed 's/#.*//' .$3 | tr '\\n' ' ' | sed -n 's/.*imports = .\\([^]]*\\)\\].*/\\1/p' | tr '\\042\\047,' '   '); do
set +f; grep -hv '^version' .$f; done; true`;
/** Restarts the fake in the node's root: it has another PID then, and has loaded its files. */
const RESTART = `echo >>run/restarts; set -- --config x ${CONFIG}; (${CAT}) >./run/new; mv ./run/new .${LOADED}`;
const [OWN_PID, FIRST_PID, CANDIDATE_PID] = [7, 100, 9_000];
const UID = '01234567-89ab-cdef-0123-456789abcdef';

export type Scene = Awaited<ReturnType<typeof scene>>;

/** A node with a fake containerd in a temporary root, and two releases in its /opt. Pauses end at once. */
export async function scene(t: TestContext) {
  const host = await tempHost(t, {
    ...{ [CONFIG]: ORIGINAL, [LOADED]: ORIGINAL, [DUMP]: CAT, '/run/restarts': '' },
    ...{ '/run/nsenter': { program: NSENTER }, '/opt/program': 'a program\n' },
    ...{ [PROGRAM]: 'containerd\n', '/proc/uptime': '1000.00\n' },
    '/proc/self': { link: String(OWN_PID) },
  });
  const { root } = host;
  const at = (path: string) => join(root, path);
  const read = (path: string) => readFileSync(at(path), 'utf8');
  const write = (path: string, text: string) => writeFileSync(at(path), text);
  const restarts = () => read('/run/restarts').length;
  addProcess(root, OWN_PID, { argv: ['gvisor-ready-install'] });
  // The link of a process leads to its own file, whatever is at its path in the node's root.
  mkdirSync(dirname(at(at(PROGRAM))), { recursive: true });
  linkSync(at(PROGRAM), at(at(PROGRAM)));
  for (let pid = FIRST_PID; pid < FIRST_PID + 9; pid++) {
    addProcess(root, pid, { argv: [PROGRAM] });
    symlinkSync(at(PROGRAM), at(`/proc/${pid}/exe`));
  }
  const programs = { runsc: at('/opt/program'), 'containerd-shim-runsc-v1': at('/opt/program') };
  for (const name of ['release-1', 'release-2']) await packRelease(at(`/opt/${name}`), name, programs);
  const path = process.env.PATH;
  process.env.PATH = `${at('/run')}:${path}`;
  t.after(() => {
    process.env.PATH = path;
  });
  skipPauses(t);
  const { containerd, client } = await fakeContainerd(t, {}, { root });
  const { sandboxes } = containerd;
  const { process: sentry, runtimePids } = sandboxes;
  // Sandboxes of the default handler are runc's.
  sandboxes.process = (id, pid, parent) =>
    sandboxes.byId.get(id)?.handler === ''
      ? { ...sentry(id, pid, parent), argv: ['/pause'] }
      : sentry(id, pid, parent);
  sandboxes.runtimePids = (pid) =>
    [...sandboxes.byId.values()].some((each) => each.pid === pid && each.handler === '')
      ? [pid]
      : runtimePids(pid);
  const candidate = { ids: new Set<string>(), argv: sandboxArgv, output: 'runsc version release-1\n' };
  /** Replaces further responses of containerd. */
  const script = (scripts: Readonly<Record<string, Script>>) => {
    containerd.scripts = { ...containerd.scripts, ...scripts };
  };
  const { ids } = candidate;
  /** Responses in the installer's namespace. */
  const tasks: Readonly<Record<string, Script>> = {
    'Containers.Create': ({ container }) => ids.add(container.id),
    'Containers.List': () => ({ containers: [...ids].map((id) => ({ id })) }),
    'Containers.Delete': ({ id }) => ({ isGone: ids.delete(id) }),
    'Tasks.Create': ({ containerId }) => {
      addProcess(root, CANDIDATE_PID, { argv: candidate.argv(containerId) });
      return { pid: CANDIDATE_PID };
    },
    'Tasks.Start': ({ containerId }) => ({ wrote: write(`/run/${containerId}.out`, candidate.output) }),
    'Tasks.Delete': () => ({ isGone: removeProcess(root, CANDIDATE_PID) }),
  };
  for (const [method, own] of Object.entries(tasks))
    script({
      [method]: (request, namespace) =>
        namespace === 'gvisor-ready' ? own(request) : containerd.usual(method, request),
    });
  script({
    Server: () => ({ pid: FIRST_PID + restarts() }),
    Status: () => {
      const loaded = toPlain(criSectionIn(parseToml(read(LOADED), LOADED)) ?? new Map());
      const config = JSON.stringify(loaded).replace(/_(.)(?=\w*":)/g, (_, each) => each.toUpperCase());
      return { info: { config } };
    },
  });
  const said: string[] = [];
  const node: Node = {
    ...{ root, host, client, distribution: await readDistribution(host), because: () => {} },
    ...{ containerdConfig: CONFIG, handler: 'runsc', restartCommand: RESTART, noRestart: false },
    report: ({ step, state, text, verbatim = '' }) => void said.push(`${step} ${state} ${text}${verbatim}`),
  };
  return {
    ...{ root, read, write, node, containerd, script, candidate, restarts, said },
    /** Adds a running pod whose shim is this program of the node. */
    addPod: (id: string, handler: string, shim: string, uid = UID) => {
      const metadata = { name: 'pod', namespace: 'eval', uid };
      const config = { linux: { cgroupParent: `/kubepods/pod${UID}` }, metadata };
      containerd.sandboxes.add(id, {}, { config, handler });
      mkdirSync(at(`${client.bundles}/${id}`), { recursive: true });
      writeFileSync(at(`${client.bundles}/${id}/shim-binary-path`), shim);
    },
    journal: (handler = 'runsc') => readJournal(root, handler),
    install: (release = 'release-1', options: Partial<InstallOptions> = {}, on: Partial<Node> = {}) => {
      const usual = { flags: new Map(), dryRun: false, retryNow: false };
      return install({ ...node, ...on }, { ...usual, release: at(`/opt/${release}`), ...options });
    },
    /** What a run may change. */
    state: () => ({
      ...{ config: read(CONFIG), loaded: read(LOADED), restarts: restarts() },
      files: existsSync(at(GENERATIONS)) ? readdirSync(at(GENERATIONS)).sort() : undefined,
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

/** Has pauses end at once, and the monotonic clock jump by them, by ten times a long one; not timeouts, which have a signal. */
function skipPauses(t: TestContext): void {
  const [now, pause] = [performance.now.bind(performance), timers.setTimeout];
  let skippedMs = 0;
  t.mock.method(performance, 'now', () => now() + skippedMs);
  t.mock.method(timers, 'setTimeout', (ms: number, value?: unknown, options?: TimerOptions) => {
    if (options?.signal !== undefined) return pause(ms, value, options);
    skippedMs += ms < 1_000 ? ms : 10 * ms;
    return pause(1);
  });
}
