import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { runAll, waitFor } from '../../hack/run.ts';
import { runOnHost } from '../../installer/base/host-command.ts';
import type { Node } from '../../installer/base/node.ts';
import { patientReport } from '../../installer/base/progress.ts';
import { remove } from '../../installer/commands/remove.ts';
import { rollback } from '../../installer/commands/rollback.ts';
import { stageOnly } from '../../installer/commands/stage.ts';
import { isDown } from '../../installer/containerd/restart.ts';
import { readJournals } from '../../installer/journal/journal.ts';
import { takeBack } from '../../installer/steps/take-back.ts';
import { installJournal } from '../../lib/host/installation.ts';
import { HANGS, refuses } from '../lib/proof/containerd-scripts.ts';
import { CAT, CONFIG, DUMP, LOADED, ORIGINAL, refusal, type Scene, scene } from './scene.ts';

const KEEP = { force: false, retryNow: true };

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
    on.write(DUMP, `case $3 in *draft*) cp .$3 ./run/seen;; esac; ${CAT}`);
    await on.install();
    assert.match(on.read('/run/seen'), /^imports = .*50.toml.,.*\/run\/gvisor-ready-draft-\w+\/0.toml.\]$/m);
    const names = () => readdirSync(`${on.root}/etc/containerd`, { recursive: true }).sort().join();
    assert.equal(names(), 'conf.d,conf.d/50.toml,conf.d/zz-gvisor-ready-runsc.toml,config.toml');
    on.write(
      '/etc/containerd/conf.d/zz-gvisor-ready-runsc.toml.gvisor-ready-new',
      'of a run that was killed',
    );
    await remove({ ...on.node, noRestart: true }, KEEP);
    assert.equal(names(), 'conf.d,conf.d/50.toml,config.toml');
    assert.equal(on.read(CONFIG), text);
    rmSync(`${on.root}/etc/containerd/conf.d`, { recursive: true });
    await on.install('release-1', {}, { noRestart: true });
    assert.equal(names(), 'config.toml'); // a directory of its own making would stay
  });

  it('keeps every byte of others, and the time of their last change', async (t) => {
    const on = await scene(t);
    const file = `${on.root}${CONFIG}`;
    const bytes = Buffer.concat([
      Buffer.from(`# caf\u00e9 `),
      Buffer.from([0xe9, 0xff]),
      Buffer.from(`\r\n${ORIGINAL}`),
    ]);
    writeFileSync(file, bytes);
    utimesSync(file, 1_000, 1_000);
    await on.install();
    assert.deepEqual(readFileSync(file).subarray(0, bytes.length), bytes);
    await remove(on.node, KEEP);
    assert.deepEqual([readFileSync(file), statSync(file).mtimeMs], [bytes, 1_000_000]);
  });

  /** containerd 1.7 replaces its own table of runtimes by that of the files. */
  const BUILT_IN = ORIGINAL.replace('version = 3', '').replace('cri.v1.runtime', 'grpc.v1.cri');
  const OPTIONS =
    '  sandbox_mode = "podsandbox"\n  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\n  BinaryName = ""\n';
  for (const [what, text] of [
    ['a table of runtimes', 'version = 2\n[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "/x"\n'],
    ['a file', undefined],
  ] as const)
    it(`keeps the settings of runc in containerd 1.7 without ${what}`, async (t) => {
      const on = await scene(t);
      on.script({ Version: () => ({ runtimeName: 'containerd', runtimeVersion: '1.7.34' }) });
      on.write('/run/defaults', `version = 2\n${BUILT_IN}${OPTIONS}`);
      on.write('/run/built-in', `${BUILT_IN}${OPTIONS}`);
      on.write(DUMP, `cat .$3; grep -q 'runtimes.runc' .$3 || cat ./run/built-in`);
      on.write(LOADED, `version = 2\n${BUILT_IN}${OPTIONS}`);
      if (text === undefined) rmSync(`${on.root}${CONFIG}`);
      else on.write(CONFIG, text);
      await on.install();
      assert.match(on.read(CONFIG), /runtimes.runc\]\n.*\nsandbox_mode = "podsandbox"\n/);
      await remove({ ...on.node, noRestart: true }, KEEP);
      assert.equal(existsSync(`${on.root}${CONFIG}`) ? on.read(CONFIG) : undefined, text);
    });
});

describe('what an interrupted run has left', () => {
  for (const isEdited of [false, true])
    it(`${isEdited ? 'does not keep containerd down if somebody edited it' : 'goes before containerd starts'}`, async (t) => {
      const on = await scene(t);
      await on.install();
      const text = on.read(CONFIG);
      let journal = '';
      const report: Node['report'] = ({ step }) => {
        if (step === 'write') journal = on.read(installJournal('runsc'));
      };
      await on.install('release-2', {}, { report });
      on.write(installJournal('runsc'), journal);
      if (isEdited) on.write(CONFIG, on.read(CONFIG).replace('runsc.toml', 'x.toml'));
      await on.containerd.stop();
      const starting = setInterval(() => {
        if (on.restarts() === 3) void on.containerd.start().then(() => clearInterval(starting));
      }, 5);
      const said = await refusal(takeBack(on.node, (await readJournals(on.root)).journals));
      clearInterval(starting);
      const { pending } = (await on.journal()) ?? {};
      if (isEdited) assert.match(said, /^write: .* is not the one that was written there:.*\+.*x\.toml/s);
      else assert.deepEqual([said, on.read(LOADED), on.read(CONFIG)], ['nothing was refused', text, text]);
      assert.deepEqual([on.restarts(), pending === undefined], [3, !isEdited]);
    });

  it('is left alone if the journal names a file that is none of containerd', async (t) => {
    const on = await scene(t);
    await on.install();
    const text = on.read(CONFIG);
    on.write('/etc/passwd', text);
    on.write(installJournal('runsc'), on.read(installJournal('runsc')).replaceAll(CONFIG, '/etc/passwd'));
    for (const run of [() => on.install('release-2'), () => remove(on.node, KEEP)])
      assert.match(
        await refusal(run()),
        /^journal: .* names "\/etc\/passwd", which is no file of containerd/,
      );
    assert.equal(on.read('/etc/passwd'), text);
  });

  it('in a journal that cannot be read hides nothing and loses nothing', async (t) => {
    const on = await scene(t);
    await on.install();
    const [generation] = on.state().files?.filter((each) => each.startsWith('release')) ?? [];
    on.write(installJournal('runsc-other'), '{');
    await on.install('release-2');
    await on.install('release-2', { flags: new Map([['debug', 'true']]) });
    assert.ok(on.state().files?.includes(`${generation}`));
    await remove(on.node, KEEP);
    assert.match(
      on.said.at(-2) ?? '',
      /programs stay, because they may be needed: The journal .*runsc-other/,
    );
    assert.equal(on.read(CONFIG), ORIGINAL);
  });
});

describe('programs that containerd or a person needs', () => {
  const names = (on: Scene) => on.state().files?.map((each) => each.replace(/-[0-9a-f]{12}$/, '')) ?? [];

  it('stay through two installations that containerd has not loaded, which say that nothing is proven', async (t) => {
    const on = await scene(t);
    await on.install();
    await on.install('release-2', {}, { noRestart: true });
    await on.install('release-2', { flags: new Map([['debug', 'true']]) }, { noRestart: true });
    assert.deepEqual(names(on), ['install-runsc.json', 'release-1', 'release-2', 'release-2']);
    assert.match(
      on.said.at(-1) ?? '',
      /will run gVisor release-2 once containerd starts next, which is not proven/,
    );
  });

  it('stay once they are staged, until their handler is removed', async (t) => {
    const on = await scene(t);
    const other = { ...on.node, handler: 'runsc-other' };
    await stageOnly(other, `${on.root}/opt/release-2`, new Map());
    assert.match(
      on.said.join(),
      /release-2-\w+, which this table names:\[plugins."io.containerd.cri.v1.runtime"/,
    );
    await on.install();
    assert.deepEqual(names(on), ['install-runsc-other.json', 'install-runsc.json', 'release-1', 'release-2']);
    await remove(other, KEEP);
    assert.deepEqual(names(on), ['install-runsc.json', 'release-1']);
  });

  it('are found by the values of the handler if the journal is gone', async (t) => {
    const on = await scene(t);
    await on.install();
    const { installed } = (await on.journal()) ?? {};
    rmSync(`${on.root}${installJournal('runsc')}`);
    await on.install('release-2');
    assert.deepEqual((await on.journal())?.previous, installed);
    rmSync(`${on.root}${installJournal('runsc')}`);
    await remove(on.node, KEEP);
    assert.deepEqual([on.read(CONFIG), on.state().files], [ORIGINAL, undefined]);
  });
});

it('a containerd without its CRI plugin is down, and one that is only slow is not', async (t) => {
  const { node, containerd, script } = await scene(t);
  script({ Version: refuses('unknown service', status.UNIMPLEMENTED) });
  assert.equal(await isDown(node.client), true);
  script({ Version: HANGS });
  assert.equal(await isDown(node.client), false);
  await containerd.stop();
  assert.equal(await isDown(node.client), true);
});

it('a command that takes long says every 15 s why', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const said: string[] = [];
  const patient = patientReport(({ step, state, text }) =>
    said.push(`${step} ${state} ${text.replace(/\d+ s/, 'N s')}`),
  );
  t.mock.timers.tick(15_000);
  patient.because('no image', 'prove');
  t.mock.timers.tick(30_000);
  patient[Symbol.dispose]();
  t.mock.timers.tick(60_000);
  assert.deepEqual(said, [
    'check unknown goes on since N s: no answer yet',
    ...Array(2).fill('prove unknown goes on since N s: no image'),
  ]);
});

it('a command that hangs is killed with all that it has started', async () => {
  const hangs = ['sh', '-c', 'sleep 4321 & echo $!; wait'];
  await assert.rejects(runOnHost('/', hangs, 200), /was killed after 0.2 s/);
  await waitFor('its child to end', 10_000, async () => {
    const { stdout } = await runAll('pgrep', ['-f', 'sleep 4321']);
    return stdout === '';
  });
});

it('a program of the host has a session of its own, which Ctrl-C does not end', async () => {
  const fields = (await runOnHost('/', ['cat', '/proc/self/stat'])).split(' ');
  assert.equal(fields[5], fields[0]);
});
