import { additionalFiles } from '../../cluster/node/config.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { bundle } from '../../hack/bundle.ts';
import { pause, waitFor } from '../../hack/run.ts';
import type { Status } from '../../lib/report/report.ts';
import { OutsideAgent } from '../integration/outside-agent.ts';
import { BUNDLED, cpuMs, ENVIRONMENT, EVALUATION_S, evaluationMs, memoryOf } from './one-node.ts';
import { mebibytes } from './statistics.ts';

/** Additional handlers of the measured node. */
export const ADDITIONAL = ['runsc-a', 'runsc-b', 'runsc-c'] as const;
/** Starts of an agent for each number of handlers, of which the medians are shown. */
const STARTS = 3;

export const HANDLERS_HEAD = ['handlers', 'resident', 'anonymous', 'evaluation: main', 'additional', 'boot'];

type Cost = {
  readonly rss: number;
  readonly anonymous: number;
  /** CPU time of one evaluation, milliseconds. */
  readonly mainMs: number;
  readonly additionalMs: number;
  /** Boot of the last handler's sandbox, milliseconds. */
  readonly bootMs: number;
};

/** What an agent costs by the number of its handlers. */
export async function measureHandlers(node: ClusterNode, soakS: number): Promise<string[][]> {
  await bundle();
  const rows: string[][] = [];
  for (const count of [0, 1, ADDITIONAL.length]) {
    const costs: Cost[] = [];
    for (let start = 0; start < STARTS; start++) costs.push(await measureOne(node, count, soakS));
    const median = (field: keyof Cost) => costs.map((cost) => cost[field]).sort((a, b) => a - b)[1] ?? 0;
    rows.push([
      String(count + 1),
      `${mebibytes(median('rss'))} MiB`,
      `${mebibytes(median('anonymous'))} MiB`,
      `${median('mainMs')} ms`,
      count === 0 ? '' : `${median('additionalMs')} ms`,
      `${(median('bootMs') / 1_000).toFixed(2)} s`,
    ]);
  }
  return [...rows, ['each', '≤ 1 MiB', '', '', '', '≤ 0.30 s']];
}

async function measureOne(node: ClusterNode, count: number, soakS: number): Promise<Cost> {
  const additional = ADDITIONAL.slice(0, count);
  const HANDLERS = ['runsc', ...additional].join();
  const agent = new OutsideAgent(node, { ...ENVIRONMENT, HANDLERS, PROOF_INTERVAL: '1h' }, BUNDLED);
  try {
    await agent.proven();
    const status = await waitFor('all handlers to be proven', 60_000, async () => {
      const report = (await agent.report()) as Status | undefined;
      const proven = report?.handlers?.filter(({ verdict }) => verdict.status === 'True') ?? [];
      return proven.length === count ? report : undefined;
    });
    await pause(soakS);
    const { rss, anonymous } = await memoryOf(agent.pid);
    const mainMs = await evaluationMs(agent, node);
    const before = await cpuMs(agent.pid);
    for (const handler of additional.slice(0, 1)) {
      const { config } = additionalFiles(handler);
      await node.write(config, await node.system.read(config));
      await pause(EVALUATION_S);
    }
    const additionalMs = (await cpuMs(agent.pid)) - before;
    const { proof } = status.handlers?.at(-1) ?? status;
    const bootMs = proof.kind === 'proven' ? proof.bootMs : Number.NaN;
    return { rss, anonymous, mainMs, additionalMs, bootMs };
  } finally {
    await agent.stop();
  }
}
