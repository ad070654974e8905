import { hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { bundleInstaller, copyNode } from '../../hack/bundle.ts';
import { packBuilt } from '../../hack/gvisor-release.ts';
import { CACHE } from '../../hack/paths.ts';
import { UsageError } from '../../hack/run.ts';
import { makeOnce, partial, removeAbandoned } from '../../hack/unfinished.ts';
import { MACHINE_PATH } from '../machine/machine.ts';
import { GVISOR_TOOLS } from '../plan/nodes.ts';
import { toolVersion } from '../tools/tool-groups.ts';
import { ensureTools } from '../tools/tools.ts';
import { CONTAINERD_CONFIG, LOADED_CONFIG, PREWARMER_SCRIPT } from './config.ts';
import type { ClusterNode } from './node.ts';

/** Names that `--gvisor` takes, and a release whose runsc cannot boot a sandbox. */
export type ReleaseName = keyof typeof GVISOR_TOOLS | 'broken';

export const RELEASES = [...Object.keys(GVISOR_TOOLS), 'broken'] as readonly ReleaseName[];

/** Nodes see the cache at the same path. */
const DIRECTORY = join(CACHE, 'installer');

/** Restarts containerd on a node without systemd, with the same log if it runs. */
export const RESTART = `pid=$(cat /run/daemons/containerd)
if [ -f /proc/$pid/fd/1 ]; then log=/proc/$pid/fd/1; else log=/var/log/containerd.log; fi
exec >>$log 2>&1
kill $pid; while kill -0 $pid; do sleep 0.02; done
cp ${CONTAINERD_CONFIG} ${LOADED_CONFIG}
setsid -f sh -c 'echo $$ >/run/daemons/containerd; . /run/join-cgroup; exec containerd' </dev/null`;

/** Throws a UsageError for a virtual machine. */
export async function installerCommand(
  node: ClusterNode,
  words: readonly string[],
): Promise<readonly [string, ...string[]]> {
  if (node.spec.machine === 'vm')
    throw new UsageError(`${node.name} is a virtual machine: copy the installer there, and run it.`);
  const program = await ensureInstaller();
  const options = ['--restart-command', RESTART, ...words];
  return ['nsenter', ...node.machine.enter('env', `PATH=${MACHINE_PATH}`, ...program, ...options)];
}

/** Bundles unless the cache has the same. */
async function ensureInstaller(): Promise<readonly [string, string]> {
  await removeAbandoned(DIRECTORY);
  const draft = partial(join(DIRECTORY, 'installer.cjs'));
  await bundleInstaller(draft);
  const digest = hash('sha256', await readFile(draft));
  const bundle = join(DIRECTORY, `installer-${digest.slice(0, 12)}.cjs`);
  await rename(draft, bundle);
  const node = join(DIRECTORY, `node-${process.version}`);
  if (!existsSync(node)) await copyNode(node);
  return [node, bundle];
}

/** The directory is the same on this machine and on nodes. */
export async function ensureRelease(name: ReleaseName): Promise<string> {
  const group = name === 'broken' ? 'gvisor' : GVISOR_TOOLS[name];
  const tools = (await ensureTools([group]))[group];
  const directory = join(DIRECTORY, `${name}-${basename(tools)}`);
  await makeOnce(directory, async (work) => {
    const release = join(work, 'release');
    const prewarmer = join(work, 'prewarmer');
    await mkdir(work);
    await writeFile(prewarmer, PREWARMER_SCRIPT);
    const sidecars = {
      'gvisor-bin/gvisor_sentry': join(tools, 'runsc'),
      'gvisor-bin/gvisor-sentry-prewarmer': prewarmer,
    };
    const isBroken = name === 'broken';
    const further = name === '2026-09' ? sidecars : {};
    await packBuilt(release, isBroken ? name : await toolVersion(group), tools, { isBroken, further });
    return release;
  });
  return directory;
}
