import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { installJournal } from '../../agent/host/installation.ts';
import { takeBack } from '../../installer/change.ts';
import { runOnHost } from '../../installer/containerd.ts';
import { remove, rollback, stageOnly } from '../../installer/install.ts';
import { type Node, patiently } from '../../installer/node.ts';
import { refuses } from '../agent/proof/containerd-scripts.ts';
import { CAT, CONFIG, DUMP, LOADED, ORIGINAL, refusal, type Scene, scene } from './scene.ts';

const KEEP = { force: false, retryNow: true };
const OTHER = installJournal('runsc-other');

describe('a change of containerd', () => {
  it('is live only after containerd has read it, in an upgrade, a rollback and a removal', async (t) => {
    const on = await scene(t);
    await on.install();
    await on.install('release-2');
    const text = on.read(CONFIG);
    // What is live whenever containerd reads a configuration: it refuses every other one.
    on.write(DUMP, `cat .${CONFIG} >>./run/live; cmp -s .$3 .${CONFIG} || exit 1; ${CAT}`);
    const changes = [
      () => on.install('release-1', { retryNow: true }),
      () => rollback(on.node),
      () => remove(on.node, KEEP),
    ];
    for (const each of changes) assert.match(await refusal(each()), /^validate: containerd refuses the new/);
    const live = on.read('/run/live');
    assert.equal(live, text.repeat(live.length / text.length));
    assert.deepEqual([on.read(CONFIG), on.restarts()], [text, 2]);
  });

  it('is refused if containerd would not have the handler', async (t) => {
    const on = await scene(t);
    on.write(DUMP, `sed '/BEGIN/,$d' .$3`);
    assert.match(
      await refusal(on.install()),
      /^validate: .*would not load the handler .*\(HandlerNotConfigured\)/,
    );
    assert.equal(on.read(CONFIG), ORIGINAL);
  });

  it('is tried in a directory of drop-ins, and leaves nothing there', async (t) => {
    const on = await scene(t);
    mkdirSync(`${on.root}/etc/containerd/conf.d`);
    on.write('/etc/containerd/conf.d/50.toml', 'version = 3\n[debug]\n  level = "info"\n');
    const text = `imports = [ # ours\n  '/etc/containerd/conf.d/*.toml',\n]\n${ORIGINAL}`;
    on.write(CONFIG, text);
    on.write(DUMP, `cp .$3 ./run/draft; ${CAT}`);
    await on.install();
    assert.match(
      on.read('/run/draft'),
      /^imports = .*50.toml.,.*gvisor-ready-runsc.toml.gvisor-ready-new.\]$/m,
    );
    const names = () => readdirSync(`${on.root}/etc/containerd`, { recursive: true }).sort().join();
    assert.equal(names(), 'conf.d,conf.d/50.toml,conf.d/gvisor-ready-runsc.toml,config.toml');
    await remove({ ...on.node, noRestart: true }, KEEP);
    assert.equal(names(), 'conf.d,conf.d/50.toml,config.toml');
    assert.equal(on.read(CONFIG), text);
  });
});
