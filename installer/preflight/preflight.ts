import { constants, existsSync } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import timers from 'node:timers/promises';
import { errorLine } from '../../lib/base/sanitize.ts';
import { checkKernel } from '../../lib/checks/kernel.ts';
import { checkUserNamespaces } from '../../lib/checks/user-namespaces.ts';
import { type CriClient, type CriStatus, usesSystemdCgroup } from '../../lib/containerd/client.ts';
import { type ContainerdConfig, readContainerdConfig } from '../../lib/containerd/config.ts';
import { CriError } from '../../lib/containerd/error.ts';
import type { TomlTable } from '../../lib/containerd/toml.ts';
import type { Node } from '../base/node.ts';
import { pass } from '../base/progress.ts';
import { Refusal } from '../base/refusal.ts';
import { contentOf } from '../config/edits.ts';
import { readMainFile, refuseOtherFiles } from '../config/handler-config.ts';
import { handlerBlock, markedBlock, ownGeneration, SECTIONS, unmarkedTable } from '../config/own-text.ts';
import { dumpConfig } from '../containerd/dump.ts';
import { type ContainerdProcess, findContainerd } from '../containerd/find.ts';
import { hasJustBegun, restartCommand } from '../containerd/restart.ts';
import { readJournal } from '../journal/journal.ts';
import type { Journal } from '../journal/schema.ts';
import { GENERATIONS } from '../release/generation.ts';
import { refuseDefault } from './risks.ts';

/** Their containerd reads its configuration from files that last, at least until the node's next boot. */
const SUPPORTED = ['containerd', 'kind', 'AKS', 'EKS'];
/** Says what to do on systems on which this program can do nothing. */
const ELSEWHERE: Readonly<Record<string, { readonly what: string }>> = {
  Bottlerocket: {
    what: 'Bottlerocket: its root is read-only and its settings have no place for a handler: take nodes of AL2023',
  },
  'CRI-O': {
    what: 'CRI-O: this program speaks to containerd only: add the handler in /etc/crio/crio.conf.d',
  },
  GKE: { what: 'GKE: create the node pool with GKE Sandbox, which is a gVisor of its own' },
};
const RESPONSE_MS = 60_000;
const RESPONSE_PAUSE_MS = 1_000;
const FREE_BYTES = 2 ** 30;

export type Present = {
  /** Says what containerd's files say, if another program has rewritten them. */
  readonly journal: Journal | undefined;
  readonly containerd: ContainerdProcess;
  readonly config: ContainerdConfig;
  /** As containerd reads the present configuration. */
  readonly dump: TomlTable;
  /** The file whose table of handlers counts. */
  readonly main: string;
};

export type Preflight = Present & { readonly driver: 'systemd' | 'cgroupfs' };

/** Changes nothing; throws a {@link Refusal} if this node cannot have gVisor. */
export async function preflight(node: Node): Promise<Preflight> {
  const { root, client, containerdConfig, report } = node;
  await refuseDistribution(node);
  const journal = await readJournal(root, node.handler); // one that cannot be read is refused before containerd is asked
  await refuseKernel(node);
  await refuseDisk(root);
  const status = await patientStatus(node);
  const present = await readPresent(node, status, journal);
  if (present.containerd.program.startsWith('/snap/'))
    throw new Refusal('check', {
      what: 'containerd comes from a snap, which renders its configuration',
      next: 'Use stage',
    });
  if (restartCommand(node, present.containerd) === undefined && !node.noRestart)
    throw new Refusal('check', {
      what: 'No systemd unit runs containerd here',
      next: 'Give --restart-command with what restarts it, or --no-restart',
    });
  refuseDefault(node.handler, present.dump);
  await refuseForeign(node, present.config);
  const driver = await cgroupDriver(client, status);
  const text = `containerd ${status.runtimeVersion}, cgroup driver ${driver}, configuration "${containerdConfig}"`;
  report({ step: 'check', ...pass(text) });
  return { ...present, driver };
}

export async function readPresent(
  node: Node,
  status: CriStatus,
  kept: Journal | undefined,
): Promise<Present> {
  const { root, host, client, containerdConfig } = node;
  const containerd = await findContainerd(root, client);
  const config = await readContainerdConfig(host, containerdConfig, status.runtimeVersion);
  if (kept !== undefined) await refuseOtherFiles(node, kept);
  const dump = await dumpConfig(node, containerd, containerdConfig).catch((cause) => {
    throw new Refusal('check', {
      what: `containerd refuses its present configuration: ${errorLine(cause)}`,
      next: 'Repair it first',
      reason: 'ContainerdConfigInvalid',
      cause,
    });
  });
  const main = await readMainFile(host, config.rules, containerdConfig);
  return { journal: await recall(node, { journal: kept, config, main }), containerd, config, dump, main };
}

export async function cgroupDriver(client: CriClient, status: CriStatus): Promise<Preflight['driver']> {
  return (await usesSystemdCgroup(client, status)) ? 'systemd' : 'cgroupfs';
}

/** Corrects a journal that names another place or was lost by the values that the files have. */
async function recall(
  { root, handler }: Node,
  { journal, config, main }: Pick<Present, 'journal' | 'config' | 'main'>,
): Promise<Journal | undefined> {
  const runtime = config.runtimes.get(handler);
  const generation = ownGeneration(runtime);
  const file = runtime?.file ?? '';
  const { installed, pending } = journal ?? {};
  if (pending !== undefined) return journal;
  const isGone = installed !== undefined && (await contentOf(root, installed.written.file)) === undefined;
  // A file went with the handler in it: to undo the next change must not make it anew.
  if (journal !== undefined && isGone && generation === undefined)
    return { ...journal, installed: undefined };
  if (generation === undefined) return journal;
  if (installed?.generation === generation.directory && installed.written.file === file) return journal;
  const content = (await contentOf(root, file)) ?? '';
  const marked = markedBlock(handler, content);
  const bare = file === main ? unmarkedTable(handler, content) : undefined;
  const section = SECTIONS.find((each) => bare?.includes(each));
  const text = marked ?? (section && `\n${handlerBlock(section, handler, generation)}`);
  if (text === undefined) return journal; // a copy in another program's file
  return {
    format: 1,
    handler,
    ...journal,
    installed: { generation: generation.directory, written: { file, text } },
  };
}

async function refuseDistribution(node: Node): Promise<void> {
  const { name } = node.distribution;
  if (SUPPORTED.includes(name)) return;
  const elsewhere = ELSEWHERE[name];
  if (elsewhere !== undefined) throw new Refusal('check', elsewhere);
  const gone = `If ${name} is gone from this node, give --socket and --config of its containerd`;
  throw new Refusal('check', {
    what: `${name} writes containerd's configuration itself`,
    next: `Use stage, and add the table that it prints: ${await placeOf(node)}. ${gone}`,
  });
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
    const found = await check(host).catch(() => undefined);
    if (found?.status === 'fail') {
      const { message: what, reason } = found;
      throw new Refusal('check', { what, reason });
    }
  }
}

/**
 * On a busy node containerd is slow, and slow is not broken; one that somebody restarted just now may not listen
 * yet, or serve no pods. Throws a {@link Refusal} if it does not respond.
 */
export async function patientStatus({ root, client, because }: Node): Promise<CriStatus> {
  const deadlineMs = performance.now() + RESPONSE_MS;
  for (;;) {
    try {
      return await client.status();
    } catch (cause) {
      const isDown = cause instanceof CriError && cause.kind === 'unreachable';
      if (isDown ? !(await hasJustBegun(root)) : performance.now() > deadlineMs) {
        const what = `containerd does not respond at "${client.socket}": ${errorLine(cause)}`;
        throw new Refusal('check', { what, reason: 'ContainerdUnreachable', cause });
      }
      because(errorLine(cause));
      await timers.setTimeout(RESPONSE_PAUSE_MS);
    }
  }
}

async function refuseDisk(root: string): Promise<void> {
  let directory = GENERATIONS;
  while (!existsSync(join(root, directory))) directory = dirname(directory);
  await access(join(root, directory), constants.W_OK).catch((cause: NodeJS.ErrnoException) => {
    throw new Refusal('check', {
      what: `"${directory}" cannot be written (${cause.code})`,
      next: 'An immutable system needs gVisor in its image: use stage there',
      cause,
    });
  });
  const { bavail, bsize } = await statfs(join(root, directory));
  if (bavail * bsize >= FREE_BYTES) return;
  const free = Math.round((bavail * bsize) / 2 ** 20);
  const what = `Only ${free} MiB are free in "${directory}", and a release needs up to 1 GiB`;
  throw new Refusal('check', { what });
}

/** Another owner's handler of the same name is left alone. */
async function refuseForeign({ root, handler }: Node, { runtimes }: ContainerdConfig): Promise<void> {
  const runtime = runtimes.get(handler);
  const { file, line } = runtime ?? {};
  if (file === undefined || ownGeneration(runtime) !== undefined) return;
  if (markedBlock(handler, (await contentOf(root, file)) ?? '') !== undefined) return; // refused with the difference
  throw new Refusal('check', {
    what: `"${file}" line ${line} configures the handler "${handler}" already, and it is left alone`,
    next: `Install another beside it (--handler ${handler}-2), move the RuntimeClass, and have its owner remove it`,
  });
}
