import assert from 'node:assert/strict';
import { cpus } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { patient } from '../../hack/run.ts';
import { agentOn, deployWith, waitForNode } from '../e2e/agents.ts';
import { provenAgain } from '../e2e/disturb.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import { BURN, endLoad, FILL_DISK, startLoad, underLoad } from './under-load.ts';

const cluster = useCluster();
const NODE = 'node-1';
/** Of both loads together; an hour finds more. */
const LOAD_MS = Number(process.env.LOAD_MINUTES ?? 10) * 60_000;
/** Busy processes per processor. `npm run bench -- load` does the same for half an hour, and fills the memory too. */
const TIMES = 8;
const LOADS = {
  [`${cpus().length * TIMES} busy processes`]: Array<string>(cpus().length * TIMES).fill(BURN),
  'a disk for which eight processes wait': Array<string>(8).fill(FILL_DISK),
};

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

  for (const [load, scripts] of Object.entries(LOADS))
    it(`keeps its label beside ${load}, causes no writes, and leaves no orphans`, {
      timeout: patient(900_000) + LOAD_MS,
    }, async () => {
      const node = cluster().node(NODE);
      const { name } = await agentOn(cluster(), NODE);
      const effect = await underLoad(cluster(), node, async () => {
        await startLoad(cluster(), node, scripts);
        await pause(LOAD_MS / 2);
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
      const counts = [...outcomes].map(([outcome, count]) => `${count} ${outcome}`).join(', ');
      console.log(`${load}: ${counts}; gVisor was proven ${backS} s after the load`);
      const nothing = { lostS: 0, transitions: 0, writes: 0, restarts: 0, sandboxes: 0, cgroups: 0 };
      assert.deepEqual(more, nothing);
      assert.equal((await agentOn(cluster(), NODE)).name, name);
      const probes = [...outcomes.values()].reduce((sum, count) => sum + count, 0);
      assert.ok(probes >= 3, `the agent ran ${probes} probes`);
    });
});
