import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckInputs } from '../agent/checks/check.ts';
import { runChecks } from '../agent/checks/checks.ts';
import { kernel } from '../agent/checks/kernel.ts';
import { userNamespaces } from '../agent/checks/user-namespaces.ts';
import type { CriStatus } from '../agent/containerd/client.ts';
import { type ContainerdConfig, readContainerdConfig } from '../agent/containerd/config.ts';
import { RunscPrograms } from '../agent/runsc/program.ts';
import { errorLine } from '../agent/sanitize.ts';
import { type ContainerdProcess, findContainerd, restartCommand } from './containerd.ts';
import { foundIn } from './handler-config.ts';
import type { Journal } from './journal.ts';
import type { Node } from './node.ts';
import { Refusal } from './node.ts';

/** Distributions whose containerd reads its configuration from files that last. */
const SUPPORTED = ['containerd', 'kind', 'EKS', 'AKS'];
const CHECK_MS = 30_000;
const FREE_BYTES = 2 ** 30;

/** What {@link preflight} saw of a node that can have gVisor. */
export type Preflight = {
  readonly containerd: ContainerdProcess;
  readonly status: CriStatus;
  readonly config: ContainerdConfig;
};

/** Reads whether this node can have gVisor, and changes nothing; throws a {@link Refusal} if it cannot. */
export async function preflight(node: Node, journal: Journal | undefined): Promise<Preflight> {
  const { root, client, distribution, containerdConfig, report } = node;
  if (!SUPPORTED.includes(distribution.name)) {
    const how = `Add the handler there instead: ${distribution.edit}`;
    throw new Refusal('check', `${distribution.name} writes containerd's configuration itself. ${how}`);
  }
  await refuseKernel(node);
  await refuseDisk(root);
  const status = await client.status().catch((cause) => {
    const message = `containerd does not respond at "${client.socket}": ${errorLine(cause)}`;
    throw new Refusal('check', message, { cause, reason: 'ContainerdUnreachable' });
  });
  const containerd = await findContainerd(root, client);
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
  await refuseForeign(node, config, journal);
  report({
    step: 'check',
    state: 'pass',
    text: `containerd ${status.runtimeVersion}, configuration "${containerdConfig}"`,
  });
  return { containerd, status, config };
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

async function refuseDisk(root: string): Promise<void> {
  const { bavail, bsize } = await statfs(join(root, '/usr/local'));
  if (bavail * bsize >= FREE_BYTES) return;
  const free = Math.round((bavail * bsize) / 2 ** 20);
  throw new Refusal('check', `Only ${free} MiB are free below /usr/local, and a release needs up to 1 GiB`);
}

/** A foreign handler of the same name is left alone. */
async function refuseForeign(
  { root, handler }: Node,
  config: ContainerdConfig,
  journal: Journal | undefined,
): Promise<void> {
  const { file, line } = config.runtimes.get(handler) ?? {};
  if (file === undefined) return;
  const owns = journal?.installed ?? journal?.pending;
  if (owns !== undefined && (await foundIn(root, file)) !== undefined) return;
  const next = `To have it replaced, remove these lines and install again`;
  throw new Refusal(
    'check',
    `"${file}" line ${line} configures the handler "${handler}" already, and it is left alone. ${next}`,
  );
}
