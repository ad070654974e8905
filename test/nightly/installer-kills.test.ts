import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { pause } from '../../hack/run.ts';
import { waitForNode } from '../e2e/agents.ts';
import {
  argv,
  install,
  installWords,
  killInstaller,
  NODES,
  readNodeJournal,
  useInstallerNodes,
} from '../e2e/installer-nodes.ts';

const KILLS = 50;
const RELEASES = ['20260223.0', '20250203.0'] as const;
/** An installation takes 2 to 4 s on an idle machine. */
const MAX_SECONDS = 4.5;

const cluster = useInstallerNodes('kills', NODES);

for (const { name: node, containerd } of NODES)
  describe(`the installer on containerd ${containerd}`, () => {
    it(`killed ${KILLS} times at random moments, ends proven each time`, {
      timeout: 3_600_000,
    }, async (t) => {
      const steps: Record<string, number> = {};
      for (let kill = 0; kill < KILLS; kill++) {
        const release = RELEASES[kill % 2] as string;
        const words = installWords(release);
        const child = spawn('nsenter', argv(node, words), { stdio: 'ignore' });
        const ended = once(child, 'close');
        await Promise.race([ended, pause(Math.random() * MAX_SECONDS)]);
        await killInstaller(node);
        await ended;
        const { pending } = (await readNodeJournal(node)) ?? {};
        const step = pending?.step ?? 'none';
        steps[step] = (steps[step] ?? 0) + 1;
        await installAgain(node, release);
      }
      t.diagnostic(JSON.stringify(steps));
      await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
    });
  });

async function installAgain(node: string, release: string): Promise<void> {
  await install(node, release);
  const { pending, installed } = (await readNodeJournal(node)) ?? {};
  assert.equal(pending, undefined);
  assert.match(installed?.generation ?? '', new RegExp(release));
}
