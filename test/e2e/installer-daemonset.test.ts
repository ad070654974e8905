import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { describe, it } from 'node:test';
import type { V1DaemonSet, V1Pod, V1PodList } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import { deployAgent } from '../../cluster/labels.ts';
import { CONTAINERD_CONFIG, KUBELET_CONFIG } from '../../cluster/node/config.ts';
import { RESTART } from '../../cluster/node/installer.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { installJournal } from '../../lib/host/installation.ts';
import { RARE } from '../rare.ts';
import { overlay, waitForNode } from './agents.ts';
import { useOwnCluster } from './e2e-cluster.ts';
import { NODES, readNodeJournal } from './installer-nodes.ts';

const LABEL = 'gvisor-ready.node-restriction.kubernetes.io/install';
const DAEMON_SET = ['daemonset/gvisor-ready-install', '--namespace=gvisor-ready'] as const;
const NAMES = NODES.map(({ name }) => name);
const SETTLE_SECONDS = 3;
const RELEASES = {
  '20250203.0': 'installer-2025',
  '20260223.0': 'installer',
  /** Its runsc cannot boot. */
  '20260224.0': 'installer-broken',
} as const;
type Release = keyof typeof RELEASES;

let cluster: Cluster;
/** containerd's configuration before the first installation, by node. */
const originals = new Map<string, string>();
useOwnCluster(
  'rollout',
  NODES,
  async (started) => {
    cluster = started;
    await deployAgent(cluster, join(REPO, 'manifests/base'));
    for (const node of NAMES) originals.set(node, await config(node));
  },
  ['workload', 'agent', 'installer', 'installer-2025', 'installer-broken'],
);

const containerdPid = (node: string) => cluster.node(node).system.read('/run/daemons/containerd');
const config = (node: string) => cluster.node(node).system.read(CONTAINERD_CONFIG);

const journal = (node: string, handler?: string) => readNodeJournal(cluster.node(node), handler);

/** What a rollout must not change: containerd's process and its configuration, on each node. */
const stateOf = (nodes: readonly string[]) =>
  Promise.all(nodes.map(async (node) => [await containerdPid(node), await config(node)]));

/** Patches for these nodes and for a test that waits: the DaemonSet is as it is applied otherwise. */
const PATCH = [
  {
    op: 'replace',
    path: '/metadata/annotations/gvisor-ready.dev~1settle-seconds',
    value: String(SETTLE_SECONDS),
  },
  {
    op: 'add',
    path: '/spec/template/spec/initContainers/0/args/-',
    // Kubernetes reads $$ as $ in arguments.
    value: `--restart-command=${RESTART.replaceAll('$', () => '$$')}`,
  },
];
/** PATCH, and the image of a release. */
function patchesOf(release: Release, further: readonly object[] = []) {
  const images = ['initContainers', 'containers'].map((name) => ({
    op: 'replace',
    path: `/spec/template/spec/${name}/0/image`,
    value: imageName(RELEASES[release]),
  }));
  const patch = JSON.stringify([...PATCH, ...images, ...further]);
  return [{ target: { kind: 'DaemonSet', name: 'gvisor-ready-install' }, patch }];
}

/** The patch of docs/upgrade.md, with an image of this release. */
function canaryPatch(command: 'install' | 'remove'): readonly object[] {
  const path = '/spec/template/spec/initContainers/1';
  return [
    { op: 'copy', from: '/spec/template/spec/initContainers/0', path },
    { op: 'replace', path: `${path}/name`, value: 'install-runsc-canary' },
    { op: 'replace', path: `${path}/image`, value: imageName('installer') },
    { op: 'add', path: `${path}/args/-`, value: '--handler=runsc-canary' },
    { op: 'replace', path: `${path}/args/2`, value: command },
  ];
}

/** Applies the component with an image of this release. */
async function applyInstall(release: Release, further: readonly object[] = []): Promise<void> {
  const directory = await overlay(['install'], [], { patches: patchesOf(release, further) });
  await cluster.kubectl(['apply', '-k', directory]).finally(() => rm(directory, { recursive: true }));
}

async function applyRemoval(): Promise<void> {
  const directory = await overlay([]);
  const resources = [relative(directory, join(REPO, 'manifests/install-remove'))];
  await writeFile(
    join(directory, 'kustomization.yaml'),
    JSON.stringify({ resources, patches: patchesOf('20250203.0') }),
  );
  await cluster.kubectl(['apply', '-k', directory]).finally(() => rm(directory, { recursive: true }));
}

async function onInstaller(...words: readonly string[]): Promise<string> {
  return cluster.kubectl([...words, ...DAEMON_SET], undefined, patient(200_000));
}

const waitForRollout = () =>
  onInstaller('rollout', 'status', '--timeout=180s').catch(async (err: unknown) => {
    const who = ['-n', 'gvisor-ready', '-l', 'app.kubernetes.io/component in (install, fleet)'];
    const show = (...words: readonly string[]) => cluster.kubectl([...words, ...who]).catch(String);
    const pods = await show('get', 'pods', '-o', 'wide');
    throw new Error(pods + (await show('logs', '--all-containers', '--prefix', '--tail=20')), { cause: err });
  });

async function installerPods(): Promise<readonly V1Pod[]> {
  const selector = '?labelSelector=app.kubernetes.io/component=install';
  const text = await cluster.get(`/api/v1/namespaces/gvisor-ready/pods${selector}`);
  return (JSON.parse(text) as { items: V1Pod[] }).items;
}

async function podOn(node: string): Promise<V1Pod | undefined> {
  return (await installerPods()).find(({ spec }) => spec?.nodeName === node);
}

/** The release that each node runs, by its journal. */
const installed = () =>
  Promise.all(
    NAMES.map(
      async (node) => /release-([\d.]+)-/.exec((await journal(node))?.installed?.generation ?? '')?.[1],
    ),
  );

/** Resolves with the state of a node's pods, without the installer's. */
async function neighboursOn(node: string): Promise<readonly string[]> {
  const text = await cluster.get(`/api/v1/pods?fieldSelector=spec.nodeName=${node}`);
  return (JSON.parse(text) as V1PodList).items
    .filter(({ metadata }) => metadata?.labels?.['app.kubernetes.io/component'] !== 'install')
    .map(({ metadata, status }) => `${metadata?.name} ${metadata?.uid} ${status?.phase}`)
    .sort();
}

/** Resolves with the number before. */
async function setMaxPods(node: string, maxPods: number): Promise<number> {
  const config = JSON.parse(await cluster.node(node).system.read(KUBELET_CONFIG)) as { maxPods: number };
  await cluster.node(node).write(KUBELET_CONFIG, JSON.stringify({ ...config, maxPods }));
  await cluster.node(node).restart('kubelet');
  return config.maxPods;
}

const label = (node: string) => cluster.kubectl(['label', 'node', node, `${LABEL}=true`]);
const isReady = ({ ready }: { readonly ready: string }) => ready === 'true';

/** Milliseconds at which a node's installer began and ended, to the second. */
async function timesOn(node: string) {
  const pod = await podOn(node);
  const { startedAt, finishedAt } = pod?.status?.initContainerStatuses?.[0]?.state?.terminated ?? {};
  return { from: Date.parse(`${startedAt}`), to: Date.parse(`${finishedAt}`) };
}

async function assertInTurn(): Promise<void> {
  const times = await Promise.all(NAMES.map(timesOn));
  const [first, second] = times.sort((a, b) => a.from - b.from);
  const gap = (second?.from ?? 0) - (first?.to ?? Number.POSITIVE_INFINITY);
  assert.ok(gap >= (SETTLE_SECONDS - 1) * 1_000, JSON.stringify(times));
}

describe('the DaemonSet of the installer', { concurrency: false }, () => {
  it('does nothing where no node is labelled', { timeout: patient(60_000) }, async () => {
    await applyInstall('20250203.0');
    const status = await waitFor('the controller to see the DaemonSet', 30_000, async () => {
      const text = await onInstaller('get', '-o', 'json');
      const { metadata, status } = JSON.parse(text) as V1DaemonSet;
      return status?.observedGeneration === metadata?.generation ? status : undefined;
    });
    assert.equal(status.desiredNumberScheduled, 0);
    assert.deepEqual([await installerPods(), await installed()], [[], [undefined, undefined]]);
  });

  it('makes nodes ready one after the other, also if all are labelled at once', {
    timeout: patient(240_000),
  }, async () => {
    await Promise.all(NAMES.map(label));
    for (const name of NAMES) await waitForNode(cluster, name, isReady, 120_000);
    await waitForRollout();
    await assertInTurn();
  });

  it('upgrades one node after the other', { timeout: patient(240_000) }, async () => {
    await applyInstall('20260223.0');
    await waitForRollout();
    assert.deepEqual(await installed(), ['20260223.0', '20260223.0']);
    await assertInTurn();
  });

  it('restarts nothing in a second rollout, nor for a deleted pod', {
    timeout: patient(180_000),
  }, async () => {
    const before = await stateOf(NAMES);
    await onInstaller('rollout', 'restart');
    await waitForRollout();
    const name = (await podOn('node-1'))?.metadata?.name ?? '';
    await cluster.kubectl(['delete', 'pod', name, '-n', 'gvisor-ready']);
    await waitForRollout();
    assert.notEqual((await podOn('node-1'))?.metadata?.name, name);
    assert.deepEqual(await stateOf(NAMES), before);
  });

  it('evicts nobody from a full node, and goes on once there is a place', {
    timeout: patient(300_000),
  }, async () => {
    const node = NODES[0].name;
    const manifest = evaluationPod('neighbour', { gvisor: false, spec: { nodeName: node } });
    await runPod(cluster, 'neighbour', manifest);
    await cluster.kubectl(['label', 'node', node, `${LABEL}-`]);
    await waitFor('the pod there to go', 60_000, async () => (await podOn(node)) === undefined || undefined);
    const before = await neighboursOn(node);
    const maxPods = await setMaxPods(node, before.length);
    await label(node);
    await waitFor('the kubelet to refuse the pod', 120_000, async () => {
      const { phase, reason } = (await podOn(node))?.status ?? {};
      return (phase === 'Failed' && reason === 'OutOfpods') || undefined;
    });
    assert.deepEqual(await neighboursOn(node), before);
    await setMaxPods(node, maxPods);
    await waitForRollout();
    assert.deepEqual(await neighboursOn(node), before);
    await cluster.kubectl(['delete', 'pod', 'neighbour']);
  });

  it('stops at the first node that refuses a release, and restarts nothing there, however often it tries', {
    timeout: patient(240_000),
  }, async () => {
    const before = await stateOf(NAMES);
    const untouched = await installerPods();
    await applyInstall('20260224.0');
    const messages = new Set<string>();
    const refusing = await waitFor('the installer to be tried three times', 120_000, async () => {
      for (const pod of await installerPods()) {
        const [status] = pod.status?.initContainerStatuses ?? [];
        const message = (status?.lastState?.terminated ?? status?.state?.terminated)?.message;
        if (message !== undefined) messages.add(message);
        if ((status?.restartCount ?? 0) >= 2) return pod;
      }
      return undefined;
    });
    const [first = '', second = ''] = messages;
    assert.match(first, /pre-prove: gVisor release-20260224\.0 does not boot here, so nothing was changed: /);
    assert.match(second, /failed at .* in step pre-prove .* It is tried again after .*--retry-now/);
    const kept = untouched.filter(({ spec }) => spec?.nodeName !== refusing.spec?.nodeName);
    const now = await installerPods();
    assert.equal(kept.length, 1);
    assert.ok(now.some(({ metadata }) => metadata?.uid === kept[0]?.metadata?.uid));
    assert.deepEqual(await stateOf(NAMES), before);
    for (const node of NAMES) await waitForNode(cluster, node, isReady);
    await onInstaller('rollout', 'undo');
    await waitForRollout();
    assert.deepEqual(await installed(), ['20260223.0', '20260223.0']);
    assert.deepEqual(await stateOf(NAMES), before);
  });

  if (RARE)
    it('ends what it has begun when its pod is deleted', { timeout: patient(240_000) }, async () => {
      await applyInstall('20250203.0');
      const node = await waitFor(
        'an installation to begin',
        60_000,
        async () => {
          for (const name of NAMES) {
            const text = await readFile(cluster.node(name).path(installJournal('runsc')), 'utf8').catch(
              () => '',
            );
            if (text.includes('"pending"')) return name;
          }
          return undefined;
        },
        5,
      );
      const name = (await podOn(node))?.metadata?.name ?? '';
      await cluster.kubectl(['delete', 'pod', name, '-n', 'gvisor-ready'], undefined, patient(60_000));
      const { pending, installed: now, failure } = (await journal(node)) ?? {};
      assert.deepEqual(
        [pending, failure, now?.generation.includes('20250203.0')],
        [undefined, undefined, true],
      );
      await waitForRollout();
    });

  if (RARE)
    it('installs a canary beside it, and takes it away', { timeout: patient(300_000) }, async () => {
      const before = await Promise.all(NAMES.map((node) => journal(node)));
      await applyInstall('20250203.0', canaryPatch('install'));
      await waitForRollout();
      for (const node of NAMES) {
        const { installed } = (await journal(node, 'runsc-canary')) ?? {};
        assert.match(installed?.generation ?? '', /release-20260223\.0-/);
      }
      await applyInstall('20250203.0', canaryPatch('remove'));
      await waitForRollout();
      assert.deepEqual(await Promise.all(NAMES.map((node) => journal(node, 'runsc-canary'))), [
        undefined,
        undefined,
      ]);
      assert.deepEqual(await Promise.all(NAMES.map((node) => journal(node))), before);
    });

  it('leaves gVisor on the nodes when it is deleted', { timeout: patient(120_000) }, async () => {
    const state = async () => [await stateOf(NAMES), await installed()];
    const before = await state();
    await onInstaller('delete', '--cascade=foreground');
    assert.deepEqual(await state(), before);
  });

  it('is undone by the explicit removal', { timeout: patient(300_000) }, async () => {
    await applyRemoval();
    await waitForRollout();
    for (const node of NAMES) {
      assert.equal(await config(node), originals.get(node));
      const left = await cluster
        .node(node)
        .system.run(['sh', '-c', 'ls -d /usr/local/lib/gvisor 2>&1; true']);
      assert.doesNotMatch(left, /^\//m);
      await waitForNode(cluster, node, ({ ready }) => ready !== 'true');
    }
  });
});
