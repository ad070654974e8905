import assert from 'node:assert/strict';
import { cpus } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { patient } from '../../hack/run.ts';
import { agentOn, deployWith, waitForNode } from '../e2e/agents.ts';
import { provenAgain } from '../e2e/disturb.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import { BURN, endLoad, startLoad, underLoad } from './under-load.ts';

const cluster = useCluster();
const NODE = 'node-1';
const LOAD_MS = 120_000;
/** Busy processes per processor. `npm run bench -- load` does the same for half an hour. */
const TIMES = 8;

describe('an overloaded node', () => {
  before(async () => {
    await deployWith(cluster(), { PROOF_INTERVAL: '10s' });
    await waitForNode(cluster(), NODE, ({ ready }) => ready === 'true');
    await provenAgain(cluster(), NODE);
  });
  after(async () => {
    await endLoad(cluster());
    await deployWith(cluster());
  });

  it('keeps its label, causes no writes, and leaves no orphans', {
    timeout: patient(900_000),
  }, async () => {
    const node = cluster().node(NODE);
    const { name } = await agentOn(cluster(), NODE);
    const effect = await underLoad(cluster(), node, async () => {
      await startLoad(cluster(), node, Array(cpus().length * TIMES).fill(BURN));
      await pause(LOAD_MS);
      await endLoad(cluster());
    });
    const { outcomes, backS, ...more } = effect;
    if (more.writes > 0) {
      const log = await cluster().kubectl(['logs', '--namespace', 'gvisor-ready', name]);
      console.log(
        log
          .split('\n')
          .filter((line) => line.includes(' written'))
          .join('\n'),
      );
    }
    assert.deepEqual(more, { lostS: 0, transitions: 0, writes: 0, restarts: 0, sandboxes: 0, cgroups: 0 });
    assert.equal((await agentOn(cluster(), NODE)).name, name);
    const probes = [...outcomes.values()].reduce((sum, count) => sum + count, 0);
    assert.ok(probes >= 3, `the agent ran ${probes} probes, and proved gVisor ${backS} s after the load`);
  });
});
