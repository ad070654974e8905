import { constants, existsSync } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import timers from 'node:timers/promises';
import { errorLine } from '../lib/base/sanitize.ts';
import { checkKernel } from '../lib/node/checks/kernel.ts';
import { checkUserNamespaces } from '../lib/node/checks/user-namespaces.ts';
import { type CriStatus, usesSystemdCgroup } from '../lib/node/containerd/client.ts';
import { type ContainerdConfig, readContainerdConfig } from '../lib/node/containerd/config.ts';
import { readContainerdFiles } from '../lib/node/containerd/config-files.ts';
import { CriError } from '../lib/node/containerd/error.ts';
import { dumpConfig, findContainerd, restartCommand } from './containerd.ts';
import { foundIn } from './edits.ts';
import { refuseOtherFiles } from './handler-config.ts';
import type { Journal } from './journal.ts';
import { type Node, pass, Refusal } from './node.ts';
import { GENERATIONS } from './release.ts';
import { type Present, refuseDefault } from './risks.ts';

/** Their containerd reads its configuration from files that last. */
const SUPPORTED = ['containerd', 'kind', 'AKS'];
/** For systems where this program can do nothing. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  Bottlerocket: 'its root is read-only and its settings have no place for a handler: take nodes of AL2023',
  'CRI-O': 'this program speaks to containerd only: add the handler in /etc/crio/crio.conf.d',
  GKE: 'create the node pool with GKE Sandbox, which is a gVisor of its own',
};
const RESPONSE_MS = 60_000;
const RESPONSE_PAUSE_MS = 1_000;
const FREE_BYTES = 2 ** 30;

export type Preflight = Present & {
  /** The file of another owner's handler that is to be taken over. */
  readonly foreign?: string | undefined;
};

/** Changes nothing; throws a {@link Refusal} if this node cannot have gVisor. */
export async function preflight(node: Node, journal?: Journal, takeOver = false): Promise<Preflight> {
  const { root, client, containerdConfig, report } = node;
  await refuseDistribution(node);
  await refuseKernel(node);
  await refuseDisk(root);
  const status = await patientStatus(node).catch((cause) => {
    const message = `containerd does not respond at "${client.socket}": ${errorLine(cause)}`;
    throw new Refusal('check', message, { cause, reason: 'ContainerdUnreachable' });
  });
  const containerd = await findContainerd(root, client);
  if (containerd.program.startsWith('/snap/'))
    throw new Refusal('check', 'containerd comes from a snap, which renders its configuration. Use stage');
  const config = await readContainerdConfig(node.host, containerdConfig, status.runtimeVersion);
  if (restartCommand(node, containerd) === undefined && !node.noRestart) {
    const next = 'Give --restart-command with what restarts it, or --no-restart';
    throw new Refusal('check', `No systemd unit runs containerd here. ${next}`);
  }
  if (journal !== undefined) await refuseOtherFiles(node, journal);
  const dump = await dumpConfig(node, containerd, containerdConfig).catch((cause) => {
    const message = `containerd refuses its present configuration: ${errorLine(cause)}. Repair it first`;
    throw new Refusal('check', message, { cause, reason: 'ContainerdConfigInvalid' });
  });
  refuseDefault(node.handler, dump);
  if ((journal?.installed ?? journal?.pending) === undefined) await refuseLeftovers(node);
  const foreign = await findForeign(node, config, { journal, takeOver });
  const driver = usesSystemdCgroup(status) ? 'systemd' : 'cgroupfs';
  const text = `containerd ${status.runtimeVersion}, cgroup driver ${driver}, configuration "${containerdConfig}"`;
  report({ step: 'check', ...pass(text) });
  return { containerd, status, config, dump, foreign };
}

async function refuseDistribution(node: Node): Promise<void> {
  const { name } = node.distribution;
  if (SUPPORTED.includes(name)) return;
  const elsewhere = ELSEWHERE[name];
  if (elsewhere !== undefined) throw new Refusal('check', `${name}: ${elsewhere}`);
  const next = `Use stage, and add the table that it prints: ${await placeOf(node)}`;
  const gone = `If ${name} is gone from this node, give --socket and --config of its containerd`;
  throw new Refusal('check', `${name} writes containerd's configuration itself. ${next}. ${gone}`);
}

/**
 * k3s and RKE2 render containerd's file at each start, since 2026 with an import of drop-ins; in version 2 a
 * drop-in replaces the whole section of the CRI. Source: https://github.com/k3s-io/k3s/pull/13680 and
 * https://docs.k3s.io/advanced#configuring-containerd
 */
async function placeOf({ host, distribution: { name, edit, containerdConfig } }: Node): Promise<string> {
  if (name !== 'k3s' && name !== 'RKE2') return edit;
  const text = await host.readText(containerdConfig).catch(() => undefined);
  const imports = /^imports *=.*?(\/[^"*]*config-v3\.toml\.d)\/\*\.toml"/m.exec(text ?? '')?.[1];
  const directory = posix.dirname(containerdConfig);
  const template = /^version *= *2\b/m.test(text ?? '') ? 'config.toml.tmpl' : 'config-v3.toml.tmpl';
  const place =
    imports === undefined
      ? `below the line {{ template "base" . }} in "${directory}/${template}"`
      : `in "${imports}/gvisor.toml", which containerd's file imports`;
  return text === undefined ? edit : `${place}; then restart ${name}`;
}

/** A check that cannot see is no reason to refuse. */
async function refuseKernel({ host }: Node): Promise<void> {
  for (const check of [checkKernel, checkUserNamespaces]) {
    const found = await check({ sources: { host } }).catch(() => undefined);
    if (found?.status === 'fail') throw new Refusal('check', found.message, found);
  }
}

/** On a busy node containerd is slow, and slow is not broken. */
async function patientStatus({ client, because }: Node): Promise<CriStatus> {
  const deadlineMs = performance.now() + RESPONSE_MS;
  for (;;) {
    try {
      return await client.status();
    } catch (error) {
      const isDown = error instanceof CriError && error.kind === 'unreachable';
      if (isDown || performance.now() > deadlineMs) throw error;
      because(errorLine(error));
      await timers.setTimeout(RESPONSE_PAUSE_MS);
    }
  }
}

async function refuseDisk(root: string): Promise<void> {
  let directory = GENERATIONS;
  while (!existsSync(join(root, directory))) directory = dirname(directory);
  await access(join(root, directory), constants.W_OK).catch((cause: NodeJS.ErrnoException) => {
    const next = 'An immutable system needs gVisor in its image: use stage there';
    throw new Refusal('check', `"${directory}" cannot be written (${cause.code}). ${next}`, { cause });
  });
  const { bavail, bsize } = await statfs(join(root, directory));
  if (bavail * bsize >= FREE_BYTES) return;
  const free = Math.round((bavail * bsize) / 2 ** 20);
  throw new Refusal('check', `Only ${free} MiB are free in "${directory}", and a release needs up to 1 GiB`);
}

/** The file of another owner's handler that is to be taken over. */
async function findForeign(
  node: Node,
  config: ContainerdConfig,
  { journal, takeOver }: { readonly journal: Journal | undefined; readonly takeOver: boolean },
): Promise<string | undefined> {
  const { file, line, runtimePath } = config.runtimes.get(node.handler) ?? {};
  if (file === undefined || (await foundIn(node, file)) !== undefined) return undefined;
  const { generation } = journal?.installed ?? {};
  const isOwn = generation !== undefined && runtimePath?.startsWith(`${generation}/`);
  if (takeOver && !isOwn) return file;
  const what = isOwn
    ? 'has the handler of this program without its marks, as a program leaves it that rewrites the file. Remove the table and restart nothing: pods run on. Then install again'
    : `configures the handler "${node.handler}" already, and it is left alone. To have it replaced, install with --take-over, or remove these lines`;
  throw new Refusal('check', `"${file}" line ${line} ${what}`);
}

/** Without a journal nobody knows what to take back, but the handler may still be there. */
export async function refuseLeftovers(node: Node): Promise<void> {
  const { files } = await readContainerdFiles(node.host, node.containerdConfig);
  for (const { path } of files) {
    if ((await foundIn(node, path)) === undefined) continue;
    const what = `"${path}" has the handler "${node.handler}" of this program, and the journal is gone`;
    const next = 'Remove its lines from BEGIN to END there, and run this again: pods run on';
    throw new Refusal('journal', `${what}. ${next}`);
  }
}
