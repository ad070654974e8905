import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import timers from 'node:timers/promises';
import { errorLine } from '../lib/base/sanitize.ts';
import { CheckInputs } from '../lib/node/checks/check.ts';
import { runChecks } from '../lib/node/checks/checks.ts';
import { kernel } from '../lib/node/checks/kernel.ts';
import { userNamespaces } from '../lib/node/checks/user-namespaces.ts';
import { type CriClient, type CriStatus, usesSystemdCgroup } from '../lib/node/containerd/client.ts';
import { type ContainerdConfig, readContainerdConfig } from '../lib/node/containerd/config.ts';
import { CriError } from '../lib/node/containerd/error.ts';
import { RunscPrograms } from '../lib/node/runsc/program.ts';
import { dumpPresent, findContainerd, restartCommand } from './containerd.ts';
import { foundIn } from './edits.ts';
import { refuseOtherFiles } from './handler-config.ts';
import type { Journal } from './journal.ts';
import { type Because, type Node, patiently, Refusal } from './node.ts';
import { GENERATIONS } from './release.ts';
import { type Present, refuseDefault } from './risks.ts';

/** Distributions whose containerd reads its configuration from files that last. */
const SUPPORTED = ['containerd', 'kind', 'AKS'];
/** What to do on systems where this program can do nothing at all. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  Bottlerocket: 'its root is read-only and its settings have no place for a handler: take nodes of AL2023',
  'CRI-O': 'this program speaks to containerd only: add the handler in /etc/crio/crio.conf.d',
  GKE: 'create the node pool with GKE Sandbox, which is a gVisor of its own',
};
const CHECK_MS = 30_000;
const RESPONSE_MS = 60_000;
const RESPONSE_PAUSE_MS = 1_000;
const FREE_BYTES = 2 ** 30;

/** What {@link preflight} saw of a node that can have gVisor. */
export type Preflight = Present & {
  /** The file with another owner's handler of the same name, which is to be taken over. */
  readonly foreign?: string | undefined;
};

/** Reads whether this node can have gVisor, and changes nothing; throws a {@link Refusal} if it cannot. */
export async function preflight(
  node: Node,
  journal: Journal | undefined,
  takeOver = false,
): Promise<Preflight> {
  return patiently(node, 'check', (because) => inspect(node, { journal, takeOver, because }));
}

type Inspection = {
  readonly journal: Journal | undefined;
  readonly takeOver: boolean;
  readonly because: Because;
};

async function inspect(node: Node, { journal, takeOver, because }: Inspection): Promise<Preflight> {
  const { root, client, containerdConfig, report } = node;
  await refuseDistribution(node);
  await refuseKernel(node);
  await refuseDisk(root);
  const status = await patientStatus(client, because).catch((cause) => {
    const message = `containerd does not respond at "${client.socket}": ${errorLine(cause)}`;
    throw new Refusal('check', message, { cause, reason: 'ContainerdUnreachable' });
  });
  const containerd = await findContainerd(root, client);
  if (containerd.program.startsWith('/snap/'))
    throw new Refusal('check', 'containerd comes from a snap, which renders its configuration. See print');
  const config = await readContainerdConfig(node.host, containerdConfig, status.runtimeVersion);
  if (config.fault !== undefined) {
    const { file, line, problem } = config.fault;
    const message = `containerd would not start with "${file}", line ${line}: ${problem}. Repair it first`;
    throw new Refusal('check', message, { reason: 'ContainerdConfigInvalid' });
  }
  if (restartCommand(node, containerd) === undefined && !node.noRestart) {
    const next = 'Give --restart-command with what restarts it, or --no-restart';
    throw new Refusal('check', `No systemd unit runs containerd here. ${next}`);
  }
  if (journal !== undefined) await refuseOtherFiles(node, journal);
  const dump = await dumpPresent(node, containerd).catch((cause) => {
    const message = `containerd refuses its present configuration: ${errorLine(cause)}. Repair it first`;
    throw new Refusal('check', message, { cause, reason: 'ContainerdConfigInvalid' });
  });
  refuseDefault(node.handler, dump);
  const foreign = await findForeign(node, config, journal);
  if (foreign !== undefined && !takeOver) {
    const { file, line } = foreign;
    const what = `"${file}" line ${line} configures the handler "${node.handler}" already, and it is left alone`;
    const next = 'To have it replaced, install with --take-over, or remove these lines';
    throw new Refusal('check', `${what}. ${next}`);
  }
  const driver = usesSystemdCgroup(status) ? 'systemd' : 'cgroupfs';
  report({
    step: 'check',
    state: 'pass',
    text: `containerd ${status.runtimeVersion}, cgroup driver ${driver}, configuration "${containerdConfig}"`,
  });
  return { containerd, status, config, dump, foreign: foreign?.file };
}

async function refuseDistribution(node: Node): Promise<void> {
  const { name } = node.distribution;
  if (SUPPORTED.includes(name)) return;
  const elsewhere = ELSEWHERE[name];
  const message =
    elsewhere === undefined
      ? `${name} writes containerd's configuration itself. Add the handler there: ${await placeOf(node)}; see print`
      : `${name}: ${elsewhere}`;
  throw new Refusal('check', message);
}

/**
 * Where a handler lasts. k3s and RKE2 render containerd's file at each start, since 2026 with an import of drop-ins; in version
 * 2 a drop-in replaces the whole section of the CRI.
 * Source: https://github.com/k3s-io/k3s/pull/13680 and https://docs.k3s.io/advanced#configuring-containerd
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

async function refuseKernel({ host, client, handler, containerdConfig, distribution }: Node): Promise<void> {
  const signal = AbortSignal.timeout(CHECK_MS);
  const sources = {
    host,
    cri: client,
    handler,
    containerdConfig,
    edit: distribution.edit,
    programs: new RunscPrograms(),
    requireLimits: false,
    forbidFlagOverride: false,
  };
  const options = { now: () => performance.now(), signal };
  const findings = await runChecks([kernel, userNamespaces], new CheckInputs(sources, signal), options);
  for (const finding of findings)
    if (finding.status === 'fail') throw new Refusal('check', finding.message, { reason: finding.reason });
}

/** Asks again for a while: on a busy node containerd is slow, and slow is not broken. */
async function patientStatus(client: CriClient, because: Because): Promise<CriStatus> {
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
  const directory = await existing(root, GENERATIONS);
  await access(join(root, directory), constants.W_OK).catch((cause: NodeJS.ErrnoException) => {
    const next = 'An immutable system needs gVisor in its image: see print';
    throw new Refusal('check', `"${directory}" cannot be written (${cause.code}). ${next}`, { cause });
  });
  const { bavail, bsize } = await statfs(join(root, directory));
  if (bavail * bsize >= FREE_BYTES) return;
  const free = Math.round((bavail * bsize) / 2 ** 20);
  throw new Refusal('check', `Only ${free} MiB are free in "${directory}", and a release needs up to 1 GiB`);
}

/** The nearest directory above a path that is there. */
async function existing(root: string, path: string): Promise<string> {
  return stat(join(root, path)).then(
    () => path,
    () => existing(root, dirname(path)),
  );
}

/** Where another owner configures a handler of this name. */
async function findForeign(
  node: Node,
  config: ContainerdConfig,
  journal: Journal | undefined,
): Promise<{ readonly file: string; readonly line: number | undefined } | undefined> {
  const { file, line, runtimePath } = config.runtimes.get(node.handler) ?? {};
  if (file === undefined) return undefined;
  const { generation } = journal?.installed ?? {};
  if ((await foundIn(node, file)) === undefined) {
    if (generation === undefined || !runtimePath?.startsWith(`${generation}/`)) return { file, line };
    const what = `"${file}" line ${line} has the handler of this program without its marks, as a program leaves it that rewrites the file`;
    const next = 'Remove the table and restart nothing: pods run on. Then install again';
    throw new Refusal('check', `${what}. ${next}`);
  }
  if ((journal?.installed ?? journal?.pending) !== undefined) return undefined;
  const next = 'Remove it and restart nothing: pods run on. Then install again';
  throw new Refusal('check', `"${file}" has a text of this program, and the journal is gone. ${next}`);
}
