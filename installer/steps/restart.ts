import { seconds } from '../../lib/report/format.ts';
import { type Line, pass, skipped } from '../base/progress.ts';
import { Refusal } from '../base/refusal.ts';
import { isLoaded } from '../containerd/loaded.ts';
import { runningContainers, whatBecameOf } from '../containerd/pods.ts';
import { restartContainerd } from '../containerd/restart.ts';
import { refuseRisks } from '../preflight/risks.ts';
import { type Generation, generationAt } from '../release/generation.ts';
import { waitForQuiet } from './quiet.ts';
import type { Run } from './run.ts';
import type { Step } from './step.ts';

export const restart = {
  name: 'restart',
  do: (run) => load(run, run.wanted),
  async undo(run) {
    if (!run.isRestarted) return run.isTouched;
    const last = run.journal?.installed;
    const line = await load(run, last && generationAt(last.generation), true);
    if (line.state === 'pass') {
      run.isTouched = true;
      run.node.report({ step: 'undo', ...line });
    }
    return run.isTouched;
  },
} satisfies Step;

/**
 * Restarts containerd unless it has loaded what is wanted, and only in a quiet moment: the agent has seen the edited file, and
 * boots a sandbox. If it is urgent, it also restarts a containerd that does not respond, on a node that is
 * never quiet, and if the journal cannot be written.
 */
async function load(run: Run, wanted: Generation | undefined, isUrgent = false): Promise<Line> {
  const { node, containerd } = run;
  const { client, handler } = node;
  const unlessUrgent = (error: unknown) => {
    if (!isUrgent) throw error;
  };
  if (node.noRestart) return skipped('containerd loads it when it starts next (--no-restart)');
  const seen = await isLoaded(client, handler, wanted).then(
    (isThere) => (isThere ? 'wanted' : 'other'),
    (error) => {
      unlessUrgent(error);
      return 'no answer';
    },
  );
  if (seen === 'wanted')
    return skipped(`containerd has ${wanted === undefined ? 'not loaded it' : 'loaded it already'}`);
  if (seen === 'other') {
    await waitForQuiet(node).catch(unlessUrgent);
    await refuseRisks(node); // others may have edited or upgraded meanwhile
  }
  const before = await runningContainers(client).catch(() => []);
  run.isRestarted = true;
  await run.recordRestart().catch(unlessUrgent);
  const awayMs = await restartContainerd(node, containerd);
  const { running, ended, endedUnseen, lost } = await whatBecameOf(before, client);
  if (!isUrgent) run.lost = lost;
  if (!(await isLoaded(client, handler, wanted))) {
    const what = `containerd restarted and did not load the handler "${handler}" as it is written`;
    throw new Refusal('restart', { what, reason: 'HandlerNotLoaded' });
  }
  const pods = [
    `run on: ${running.length}`,
    ...(ended.length === 0 ? [] : [`ended by themselves: ${ended.join(', ')}`]),
    ...(endedUnseen.length === 0
      ? []
      : [`ended while containerd was away (exit code 255 or 137): ${endedUnseen.join(', ')}`]),
    ...(lost.length === 0 ? [] : [`were lost: ${lost.length}`]),
  ];
  return pass(`containerd was away for ${seconds(awayMs)}; pods that ${pods.join('; pods that ')}`);
}
