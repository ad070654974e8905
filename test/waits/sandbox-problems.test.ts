import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { processesIn, stateIn } from '../../cluster/machine/machine.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { ensureImage } from '../../cluster/tools/images.ts';
import { patient, waitFor } from '../../hack/run.ts';
import type { SandboxProblem, SandboxReason } from '../../lib/sandboxes/problem.ts';
import { deployImage, deployWith, readMetrics, waitForNode } from '../e2e/agents.ts';
import { hidePressure, showPressure } from '../e2e/disturb.ts';
import { GVISOR_NODES, OLDER, useCluster } from '../e2e/e2e-cluster.ts';
import { reportOf } from '../e2e/upgraded-pods.ts';

const TIMEOUT_MS = 600_000;
const BEGUN_MS = Date.now();
const LIMIT = { timeout: patient(TIMEOUT_MS) };
const BUNDLES = '/run/containerd/io.containerd.runtime.v2.task/k8s.io';

type Sandbox = {
  readonly pod: string;
  readonly id: string;
  /** The sandbox's own and one for each container. */
  readonly shims: readonly number[];
  readonly sentry: number;
};

/** A plain pod's program that plays a stopped sentry of the pod's own sandbox, and stops again if it is continued. */
const FORGE = `while read -r _ _ _ root _; do
  case $root in */sandboxes/*) id=\${root#*/sandboxes/} && break ;; esac
done </proc/self/mountinfo
id=\${id%%/*}
cp /bin/sh /tmp/runsc-sandbox
cd /tmp
PATH=.:$PATH
runsc-sandbox -c 'read p rest </proc/self/stat; while :; do kill -STOP $p; done' boot $id &
while :; do sleep 1000; done`;

const cluster = useCluster();
const NODES = OLDER ? GVISOR_NODES : (['node-1'] as const);

describe('problems of sandboxes', { concurrency: true }, () => {
  before(async () => {
    for (const name of NODES) await hidePressure(cluster().node(name));
    await deployWith(cluster(), { LOG_LEVEL: 'debug' });
    await deployImage(cluster(), await ensureImage('agent-hurried'));
  });
  after(async () => {
    for (const name of NODES) await showPressure(cluster().node(name));
    await deployWith(cluster());
  });
  for (const name of NODES) describe(`on ${name}`, { concurrency: false }, () => testsOn(name));
});

function testsOn(name: string): void {
  const pods = { kept: `kept-${name}`, left: `left-${name}`, busy: `busy-${name}` };
  const forger = `forger-${name}`;
  /** Sandboxes that containerd lost in its restart. */
  const lost = new Map<string, Sandbox>();
  let proven = '';
  const node = () => cluster().node(name);

  const start = (pod: string) => {
    const spec = { nodeName: name, terminationGracePeriodSeconds: 1 };
    return runPod(cluster(), pod, evaluationPod(pod, { gvisor: true, spec }), TIMEOUT_MS);
  };
  const expectProblems = async (reason: SandboxReason, pids: ReadonlyMap<Sandbox, readonly number[]>) => {
    const expected = new Map([...pids].map(([{ id }, list]) => [id, [...list].sort()]));
    const problems = await problemsOn(name, reason, (seen) => {
      assert.deepEqual(pidsBySandbox(seen), expected);
    });
    for (const { since, ageSeconds, message } of problems) {
      assert.ok(Date.parse(since) >= BEGUN_MS, since);
      assert.ok(ageSeconds > 0 && !message.includes('\n'), message);
    }
    const prefix = `gvisor_ready_sandbox_problems{reason="${reason}"} `;
    const samples = (await readMetrics(cluster(), name))
      .split('\n')
      .filter((line) => line.startsWith(prefix));
    assert.deepEqual(samples, problems.length === 0 ? [] : [`${prefix}${problems.length}`]);
    return problems;
  };
  const expectRestart = async (expected: 'safe' | 'unsafe') => {
    const { containerd } = node().spec;
    const state = expected === 'safe' && containerd === '1.7' ? 'unknown' : expected;
    const sandboxes = await waitFor(
      `a restart of containerd on ${name} to be ${state}`,
      TIMEOUT_MS,
      async () => {
        const { sandboxes } = await reportOf(cluster(), name);
        return sandboxes?.restart.state === state ? sandboxes : undefined;
      },
    );
    // Shims of containerd 1.7 create /run/containerd/s with mode 0600: only a process with more capabilities may enter it.
    if (state === 'unknown')
      assert.match(sandboxes.restart.because.join(), /sockets of shims cannot be opened/);
    const samples = { safe: [' 1'], unsafe: [' 0'], unknown: [] }[state];
    const text = await readMetrics(cluster(), name);
    assert.deepEqual(text.match(/(?<=^gvisor_ready_containerd_restart_safe).*/gm) ?? [], samples);
  };

  before(async () => {
    await waitForNode(cluster(), name, ({ ready }) => ready === 'true');
    const container = { command: ['sh', '-c', FORGE] };
    const forged = evaluationPod(forger, { gvisor: false, spec: { nodeName: name }, container });
    // It counts for nothing in all that follows.
    await Promise.all([start(pods.kept), start(pods.left), runPod(cluster(), forger, forged, TIMEOUT_MS)]);
    await waitFor(`${forger} to play a stopped sentry`, TIMEOUT_MS, () => {
      const { machine } = node();
      const isForged = ({ argv }: { readonly argv: readonly string[] }) =>
        argv[0] === 'runsc-sandbox' && argv[1] === '-c' && /^[0-9a-f]{64}$/.test(argv.at(-1) ?? '');
      const { pid } = processesIn(machine).find(isForged) ?? {};
      return Promise.resolve(stateIn(machine, pid) === 'T' ? true : undefined);
    });
  });
  after(async () => {
    await healNode(cluster(), node());
    const all = [...Object.values(pods), forger];
    await cluster().kubectl(['delete', 'pod', ...all, '--ignore-not-found', '--wait=false']);
  });

  it('names pods whose shim has no program, which a restart of containerd loses', LIMIT, async () => {
    await expectRestart('safe');
    const sandboxes = sandboxesOn(node());
    assert.deepEqual([...sandboxes.keys()].sort(), [pods.kept, pods.left]);
    await breakNode(cluster(), node(), 'shim-missing');
    const problems = await expectProblems('ShimProgramMissing', shimsOf(sandboxes));
    assert.deepEqual(podsOf(problems), [pods.kept, pods.left]);
    await expectRestart('unsafe');
    await node().restart('containerd');
    await healNode(cluster(), node(), 'shim-missing');
    for (const [pod, sandbox] of sandboxes) lost.set(pod, sandbox);
    await waitFor(`another sandbox of ${pods.kept}`, 60_000, async () => {
      const id = sandboxesOn(node()).get(pods.kept)?.id;
      return id !== undefined && id !== lost.get(pods.kept)?.id ? true : undefined;
    });
    await cluster().kubectl(['delete', 'pod', pods.left, '--timeout=60s']);
    const { since } = await waitForNode(cluster(), name, ({ ready }) => ready === 'true');
    proven = since;
  });

  it('names shims that do not answer, until they are continued', LIMIT, async () => {
    await expectRestart('safe');
    await start(pods.busy);
    const sandboxes = sandboxesOn(node());
    await breakNode(cluster(), node(), 'shims-hung');
    const problems = await expectProblems('ShimUnresponsive', shimsOf(sandboxes));
    assert.deepEqual(podsOf(problems), [pods.busy, pods.kept]);
    await expectRestart('unsafe');
    await healNode(cluster(), node(), 'shims-hung');
    await expectProblems('ShimUnresponsive', new Map());
    await expectRestart('safe');
  });

  it('names sandboxes that answer no command of runsc, until a pod of them is deleted', LIMIT, async () => {
    const hung = sandboxesOn(node());
    await breakNode(cluster(), node(), 'sentries-hung');
    await cluster().kubectl(['delete', 'pod', pods.busy, '--wait=false']);
    const problems = await problemsOn(name, 'RuntimeCommandHangs', (seen) => {
      assert.deepEqual(podsOf(seen), [pods.busy, pods.kept]);
    });
    for (const { sandbox, name = '', pids } of problems) {
      assert.equal(sandbox, hung.get(name)?.id);
      assert.ok(pids.includes(hung.get(name)?.sentry ?? 0), `${name}: ${pids}`);
    }
    await expectRestart('unsafe');
    const { text } = await cluster().request(`/api/v1/namespaces/default/pods/${pods.busy}`);
    assert.match(text, /"deletionTimestamp"/);
    await healNode(cluster(), node(), 'sentries-hung');
    await cluster().kubectl(['wait', `pod/${pods.busy}`, '--for=delete', '--timeout=60s']);
    await expectProblems('RuntimeCommandHangs', new Map());
    await expectRestart('safe');
  });

  it('names what containerd left: a sentry beside its pod, and shims of a deleted pod', LIMIT, async () => {
    const [kept, left] = [lost.get(pods.kept), lost.get(pods.left)];
    assert.ok(kept !== undefined && left !== undefined);
    const lingering = await expectProblems('SentryLingers', new Map([[kept, [kept.sentry]]]));
    assert.deepEqual(podsOf(lingering), [pods.kept]);
    await expectProblems('ShimOrphaned', new Map([[left, left.shims]]));
  });

  it('kept the node proven, and names nothing after the repair', LIMIT, async () => {
    await healNode(cluster(), node());
    await waitFor(`no problem on ${name}`, TIMEOUT_MS, async () =>
      (await reportOf(cluster(), name)).sandboxes?.total === 0 ? true : undefined,
    );
    await expectRestart('safe');
    assert.ok(!(await readMetrics(cluster(), name)).includes('gvisor_ready_sandbox_problems{'));
    const now = await waitForNode(cluster(), name, () => true);
    assert.deepEqual([now.ready, now.since], ['true', proven]);
  });
}

/** Waits until the problems with this reason pass `check`, and returns them. */
function problemsOn(
  node: string,
  reason: SandboxReason,
  check: (problems: readonly SandboxProblem[]) => void,
): Promise<readonly SandboxProblem[]> {
  return waitFor(`${reason} of ${node}`, TIMEOUT_MS, async () => {
    const { problems = [] } = (await reportOf(cluster(), node)).sandboxes ?? {};
    const seen = problems.filter((problem) => problem.reason === reason);
    check(seen);
    return seen;
  });
}

function podsOf(problems: readonly SandboxProblem[]): readonly string[] {
  return [...new Set(problems.map(({ name = '' }) => name))].sort();
}

function pidsBySandbox(problems: readonly SandboxProblem[]): ReadonlyMap<string, readonly number[]> {
  const bySandbox = Map.groupBy(problems, ({ sandbox }) => sandbox);
  return new Map([...bySandbox].map(([id, list]) => [id, list.flatMap(({ pids }) => pids).sort()]));
}

function shimsOf(sandboxes: ReadonlyMap<string, Sandbox>): ReadonlyMap<Sandbox, readonly number[]> {
  return new Map([...sandboxes.values()].map((sandbox) => [sandbox, sandbox.shims]));
}

/** The gVisor sandboxes of the node's pods by the pod's name, as containerd's bundles record them. */
function sandboxesOn(node: ClusterNode): ReadonlyMap<string, Sandbox> {
  const found = new Map<string, Sandbox>();
  for (const entry of readdirSync(node.path(BUNDLES))) {
    const read = (file: string) => readFileSync(join(node.path(BUNDLES), entry, file), 'utf8');
    try {
      const { annotations } = JSON.parse(read('config.json')) as {
        annotations: Readonly<Record<string, string>>;
      };
      const [shim, sentry] = [Number(read('shim.pid')), Number(read('init.pid'))];
      const [id = '', pod = ''] = ['sandbox-id', 'sandbox-name'].map(
        (key) => annotations[`io.kubernetes.cri.${key}`],
      );
      if (!/^(kept|left|busy)-/.test(pod)) continue;
      found.set(pod, { pod, id, sentry, shims: [...(found.get(pod)?.shims ?? []), shim] });
    } catch {
      // a pod that starts or ends, or one of runc's
    }
  }
  return found;
}
