import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { cgroupPath } from '../../cluster/machine/cgroups.ts';
import { processesOf } from '../../cluster/machine/processes.ts';
import { CLUSTERS } from '../../cluster/plan/clusters.ts';
import { REPO } from '../../hack/paths.ts';
import { runAll } from '../../hack/run.ts';
import { laneCluster } from '../runner/lane.ts';

const PROGRAM = 'cluster/demo/main.ts';
const NAME = await laneCluster('demo');
const ARGUMENTS = [PROGRAM, '--name', NAME, '--node'];

/** Directories and processes of nodes, and cgroups of the hierarchies that version 1 and 2 have in common. */
function leftBehind(): readonly string[] {
  const directories = [NAME, `${NAME}-node`].map((name) => join(CLUSTERS, name));
  const cgroups = directories.flatMap((directory) =>
    ['', 'unified', 'cpu'].map((hierarchy) => join('/sys/fs/cgroup', hierarchy, cgroupPath(directory))),
  );
  const processes = directories.flatMap((directory) => processesOf(directory)).map(({ pid }) => `PID ${pid}`);
  return [...[...directories, ...cgroups].filter((path) => existsSync(path)), ...processes];
}

describe('the acts of the demo on one node, which need no Kubernetes', () => {
  it('prove gVisor, name a cause and its remedy, and prove it again', async () => {
    const options = { cwd: REPO, timeoutMs: 180_000 };
    const { code, stdout, stderr } = await runAll(process.execPath, ARGUMENTS, options);
    assert.equal(code, 0, stderr);
    for (const line of [
      /^1\. One node of this machine/m,
      /^ {3}✓ proven \d+\.\d\d s after the start of the agent$/m,
      /^ {3}✓ not ready \d+\.\d\d s after the file went/m,
      /^ {3}GVisorReady=False ShimNotFound: containerd does not find the shim/m,
      /^ {3}What to do: Install containerd-shim-runsc-v1 /m,
      /^ {3}✓ proven again \d+\.\d\d s later/m,
      /^ {3}gvisor_ready_node_reason\{reason="SandboxProven"\} 1$/m,
      /^ {3}gVisor works here$/m,
    ])
      assert.match(stdout, line);
    assert.deepEqual(leftBehind(), []);
  });

  it('leave nothing when Ctrl-C stops them, while the node is broken', async () => {
    const demo = spawn(process.execPath, ARGUMENTS, { cwd: REPO, stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(demo, 'exit');
    for await (const line of createInterface({ input: demo.stdout })) {
      if (line.includes('not ready')) demo.kill('SIGINT');
    }
    assert.deepEqual(await ended, [130, null]);
    assert.deepEqual(leftBehind(), []);
  });

  it('refuse an option that they do not know', async () => {
    const { code, stderr } = await runAll(process.execPath, [PROGRAM, '--nodes'], { cwd: REPO });
    assert.equal(code, 2);
    assert.match(stderr, /^Unknown option '--nodes'.*Usage: npm run demo -- \[--node/);
  });
});
