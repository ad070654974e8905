import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { patient, pause, waitFor } from '../../hack/run.ts';
import { STEPS } from '../../installer/base/refusal.ts';
import { waitForNode } from '../e2e/agents.ts';
import {
  argv,
  installWords,
  killIn,
  killInstaller,
  NODES,
  putConfig,
  readConfig,
  readNodeJournal,
  removeWhenPodsEnded,
  restartContainerd,
  runInstaller,
  shell,
  startContainerd,
  useInstallerNodes,
} from '../e2e/installer-nodes.ts';

/** With each form of containerd's file, of which there are five on both nodes. */
const RANDOM = 40;
/** At each step, on each node. */
const AIMED = 10;
const RELEASES = ['20260223.0', '20250203.0'] as const;
/** An installation takes 2 to 4 s on an idle machine. */
const MAX_SECONDS = 4.5;
const RUNC_TABLE = /\[[^\]]*runtimes\.runc\]\n.*\n/;
const CONTAINERD_TABLE = /\[[^\]]*\.containerd\]\n.*\n\n/;

/** A form of containerd's file to which no handler can be added. */
function withInlineTables(text: string): string {
  const inline =
    '  containerd = { default_runtime_name = "runc", runtimes = { runc = { runtime_type = "io.containerd.runc.v2" } } }\n';
  return text.replace(CONTAINERD_TABLE, '').replace(RUNC_TABLE, inline);
}

const cluster = useInstallerNodes('kills');

describe('the installer', { concurrency: true }, () => {
  for (const { name: node, containerd } of NODES)
    describe(`on containerd ${containerd}`, { concurrency: false }, () => {
      let kills = 0;
      const steps: Record<string, number> = {};

      /** Has the next run end what was killed. containerd dies too every second time, and starts by itself or with that run. */
      const endProven = async (original: string, takes: boolean) => {
        const { pending } = (await readNodeJournal(cluster().node(node))) ?? {};
        steps[pending?.step ?? 'none'] = (steps[pending?.step ?? 'none'] ?? 0) + 1;
        if (kills % 2 === 0) await shell(node, 'kill -9 $(cat /run/daemons/containerd) || true');
        if (kills % 2 === 0 && pending === undefined) await startContainerd(node);
        else if (kills % 4 === 0) await restartContainerd(node);
        // A containerd that has just started refuses.
        const { code, text } = await waitFor('an initialized containerd', 30_000, async () => {
          const words = installWords(RELEASES[kills % 2] as string, '--retry-now');
          const result = await runInstaller(node, words);
          return /server is not initialized yet/.test(result.text) ? undefined : result;
        });
        kills += 1;
        const { installed, pending: left } = (await readNodeJournal(cluster().node(node))) ?? {};
        const whole = `${original}${takes ? installed?.written.text : ''}`;
        assert.deepEqual([code, await readConfig(node), left], [takes ? 0 : 1, whole, undefined], text);
        if (!takes) assert.match(text, /validate: containerd refuses the new configuration/);
      };

      const forms: Readonly<Record<string, (text: string) => string>> = {
        'its own file': (text) => text,
        'line ends as on Windows': (text) => text.replaceAll('\n', '\r\n'),
        ...(containerd === '2' && { 'inline tables, which nothing can be added to': withInlineTables }),
      };
      for (const [form, change] of Object.entries(forms))
        it(`killed ${RANDOM} times at random moments, ends proven or as before, with ${form}`, {
          timeout: patient(3_600_000),
        }, async () => {
          const plain = await readConfig(node);
          const original = change(plain);
          await putConfig(node, original);
          for (let kill = 0; kill < RANDOM; kill++) {
            const words = installWords(RELEASES[kills % 2] as string, '--retry-now');
            const child = spawn('nsenter', argv(node, words), { stdio: 'ignore' });
            const ended = once(child, 'close');
            await Promise.race([ended, pause(Math.random() * MAX_SECONDS)]);
            await killInstaller(node);
            await ended;
            await endProven(original, change !== withInlineTables);
          }
          await removeWhenPodsEnded(node);
          assert.equal(await readConfig(node), original);
          await putConfig(node, plain);
        });

      it(`killed ${AIMED} times in each step, ends proven each time`, {
        timeout: patient(3_600_000),
      }, async (t) => {
        const original = await readConfig(node);
        for (const step of STEPS.filter((each) => each !== 'check'))
          for (let seen = 0, tries = 0; seen < AIMED; tries++) {
            assert.ok(tries < 3 * AIMED, `${step} was seen ${seen} times`);
            // A short step may pass unseen, and then the installation ends.
            if (await killIn(node, step, RELEASES[kills % 2] as string)) seen += 1;
            await endProven(original, true);
          }
        t.diagnostic(JSON.stringify(steps));
        await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
      });
    });
});
