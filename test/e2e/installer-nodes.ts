import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Cluster } from '../../cluster/cluster.ts';
import { deployAgent } from '../../cluster/labels.ts';
import { MACHINE_PATH } from '../../cluster/machine/machine.ts';
import { CONTAINERD_CONFIG } from '../../cluster/node/config.ts';
import { RESTART } from '../../cluster/node/installer.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import type { ForeignArch } from '../../cluster/plan/nodes.ts';
import { nodeBinaryFor } from '../../cluster/tools/node-binary.ts';
import { toolsFor } from '../../cluster/tools/tools.ts';
import { packBuilt } from '../../hack/gvisor-release.ts';
import { buildInstaller } from '../../hack/installer.ts';
import { REPO } from '../../hack/paths.ts';
import { runAll, waitFor } from '../../hack/run.ts';
import type { Journal } from '../../installer/journal/schema.ts';
import { installJournal } from '../../lib/host/installation.ts';
import { connect } from '../integration/integration-cluster.ts';
import { useOwnCluster } from './e2e-cluster.ts';

/** Nodes without gVisor. */
export const NODES = [
  { name: 'node-1', containerd: '2', gvisor: 'none' },
  { name: 'node-2', containerd: '1.7', gvisor: 'none' },
] as const;

/** On each node: the installer, and a directory for each release. */
export const DIRECTORY = '/opt/gvisor';
export const PROGRAM = `${DIRECTORY}/gvisor-ready-install`;

export type InstallerNode = (typeof NODES)[number];

let cluster: Cluster;

/** Registers hooks for a cluster with the installer on its nodes, and agents. Returns an accessor of it. */
export function useInstallerNodes(lane: string): () => Cluster {
  return useOwnCluster(lane, NODES, async (started) => {
    await deployAgent(started, join(REPO, 'manifests/base'));
    await putInstaller(started);
  });
}

/** Puts the installer and the releases of {@link packInstaller} on each node of a cluster of namespaces. */
export async function putInstaller(on: Cluster): Promise<void> {
  cluster = on;
  const directory = await mkdtemp(join(tmpdir(), 'installer-'));
  try {
    await packInstaller(directory);
    for (const node of cluster.nodes()) await cp(directory, node.path(DIRECTORY), { recursive: true });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The installer, two releases of gVisor, and a third that does not boot. */
export async function packInstaller(directory: string, arch?: ForeignArch): Promise<void> {
  await buildInstaller(join(directory, 'gvisor-ready-install'), await nodeBinaryFor(arch));
  const tools = await toolsFor(arch, ['gvisor', 'gvisor-2025']);
  const pack = (release: string, group: keyof typeof tools, isBroken = false) =>
    packBuilt(join(directory, release), `release-${release}`, tools[group], { isBroken, arch });
  await pack('20250203.0', 'gvisor-2025');
  await pack('20260223.0', 'gvisor');
  await pack('20260224.0', 'gvisor', true);
}

/** Arguments of nsenter that run the installer on a node. */
export function argv(node: string, words: readonly string[]): readonly string[] {
  const program = [PROGRAM, '--restart-command', RESTART];
  return cluster.node(node).machine.enter('env', `PATH=${MACHINE_PATH}`, ...program, ...words);
}

/** Kills the installer on a node, and nothing else. */
export async function killInstaller(node: string): Promise<void> {
  await cluster.node(node).killWhere((words) => words.includes(PROGRAM));
}

/**
 * Starts an installation and kills it, and nothing else, once its journal names the step. Resolves with false if the
 * installation was over before that was seen.
 */
export async function killIn(
  node: string,
  step: string,
  release: string,
  handler = 'runsc',
): Promise<boolean> {
  const words = installWords(release, '--handler', handler);
  const child = spawn('nsenter', argv(node, words), { stdio: 'ignore' });
  const ended = once(child, 'close');
  const file = cluster.node(node).path(installJournal(handler));
  const isOver = () => child.exitCode !== null;
  while (!isOver()) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text.includes(`"step": "${step}"`) && text.includes('"pending"')) break;
    await setTimeout(2);
  }
  const seen = !isOver();
  await killInstaller(node);
  await ended;
  return seen;
}

export async function runInstaller(node: string, words: readonly string[], timeoutMs = 300_000) {
  const { code, stdout, stderr } = await runAll('nsenter', argv(node, words), { timeoutMs });
  return { code, text: `${stdout}${stderr}` };
}

/** Removes a handler once containerd has no sandbox of its deleted pods any more. */
export async function removeWhenPodsEnded(node: string, ...words: readonly string[]): Promise<void> {
  const { code, text } = await waitFor('sandboxes to end', 60_000, async () => {
    const result = await runInstaller(node, ['remove', ...words]);
    assert.doesNotMatch(result.text, /still run/);
    return result;
  });
  assert.equal(code, 0, text);
}

/** Arguments that install a release of {@link packInstaller}. */
export function installWords(release: string, ...words: readonly string[]): readonly string[] {
  return ['install', '--release', `${DIRECTORY}/${release}`, ...words];
}

export async function install(node: string, release: string, ...words: readonly string[]): Promise<string> {
  const { code, text } = await runInstaller(node, installWords(release, ...words));
  assert.equal(code, 0, text);
  return text;
}

/** The release whose sentry runs the pod with this UID. */
export async function releaseOf(node: string, uid: string): Promise<string> {
  const script = `for p in /proc/[0-9]*; do grep -qs "pod${uid}" $p/cgroup && readlink $p/exe; done | sort -u`;
  const programs = await cluster.node(node).system.run(['sh', '-c', script]);
  return /gvisor\/(release-[\d.]+)-/.exec(programs)?.[1] ?? programs;
}

export const readConfig = (node: string) => cluster.node(node).system.read(CONTAINERD_CONFIG);

/** Replaces containerd's file, and starts containerd with it. */
export async function putConfig(node: string, text: string): Promise<void> {
  await cluster.node(node).write(CONTAINERD_CONFIG, text);
  await startContainerd(node);
}

/** Resolves before it responds. */
export const restartContainerd = (node: string) => cluster.node(node).system.run(['/bin/sh', '-c', RESTART]);

/** Starts containerd, or starts it again. */
export async function startContainerd(node: string): Promise<void> {
  await restartContainerd(node);
  await waitFor("containerd's CRI, which starts last", 30_000, async () => {
    const client = connect(cluster.node(node));
    try {
      return (await client.version()) !== undefined;
    } finally {
      client.close();
    }
  });
}

/** The process that answers, without those that only print their configuration. */
export const containerdPid = (node: string) => cluster.node(node).system.read('/run/daemons/containerd');

export const shell = (node: string, script: string) =>
  cluster.node(node).system.run(['/bin/sh', '-ec', script]);

export async function readNodeJournal({ system }: ClusterNode, handler = 'runsc') {
  const text = await system.read(installJournal(handler));
  return text === '' ? undefined : (JSON.parse(text) as Journal);
}
