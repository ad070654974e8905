import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { FAULTS } from '../../../cluster/faults/faults.ts';
import { CLUSTERS } from '../../../cluster/plan/clusters.ts';
import { REPO } from '../../../hack/paths.ts';
import { runAll } from '../../../hack/run.ts';

/** Never started, so a refused command must leave no trace of it. */
const NAME = 'never-started';
const work = mkdtempSync(join(tmpdir(), 'cluster-test-'));
after(() => rmSync(work, { recursive: true }));

function cluster(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const node = ['cluster/commands/main.ts', ...args];
  return runAll(process.execPath, node, { cwd: REPO, env: { ...process.env, ...env } });
}

async function assertRefused(args: readonly string[], line: RegExp, env?: NodeJS.ProcessEnv): Promise<void> {
  const { code, stdout, stderr } = await cluster(args, env);
  assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
  assert.equal(stdout, '');
  const messages = stderr
    .trimEnd()
    .split('\n')
    .filter((each) => !/^[…✗]| is built from source: /.test(each)); // progress
  assert.equal(messages.length, 1, stderr);
  assert.match(messages[0] ?? '', line);
  assert.ok(!existsSync(join(CLUSTERS, NAME)), 'the cluster directory was not removed');
}

/** An environment whose `go` is a script. Nothing is prepared there: the command must come to build. */
function fakeGo(name: string, script: string): NodeJS.ProcessEnv {
  const bin = mkdtempSync(join(work, `${name}-`));
  writeFileSync(join(bin, 'go'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, 'go'), 0o755);
  return {
    PATH: `${bin}:${process.env.PATH}`,
    GVISOR_READY_CACHE: join(bin, 'cache'),
    PREPARED_TOOLS: undefined,
  };
}

describe('invalid arguments', () => {
  const table: readonly (readonly [string, RegExp])[] = [
    ['upp', /unknown command 'upp' \(Did you mean up\?\)/],
    [`up --name ${NAME} --nodes many`, /'--nodes <count>' argument 'many' is invalid.*from 1 to 50/],
    [`up --name ${NAME} --node name=a,gvisor=2024`, /Instead of "gvisor=2024" write .* gvisor=current\|2025/],
    ['break node-1 shim-mising', /'shim-mising' is invalid.*Allowed choices are shim-missing, /],
    ['install node-1 2024', /'2024' is invalid.*Allowed choices are .*current.*, broken/],
  ];
  for (const [argv, line] of table) {
    test(argv, () => assertRefused(argv.split(' '), line));
  }
});

test('help and faults need no root', async () => {
  const help = await cluster(['--help']);
  assert.equal(help.code, 0);
  for (const word of ['up', 'status', 'kubectl', 'install', 'break', 'heal', 'down']) {
    assert.match(help.stdout, new RegExp(`^  ${word}\\b`, 'm'));
  }
  const faults = await cluster(['faults']);
  for (const name of Object.keys(FAULTS)) assert.match(faults.stdout, new RegExp(`^${name} `, 'm'));
  assert.match((await cluster(['up', '--help'])).stdout, /name=NAME,containerd=2\|1\.7,/);
});

const skip = process.getuid?.() === 0 ? false : 'needs root: sudo npm run test:unit';

describe('errors with exit code 2', { skip }, () => {
  for (const [argv, line] of [
    [`status --name ${NAME}`, /The cluster "never-started" is not up: start it with `npm run/],
    [`heal node-1 --name ${NAME}`, /is not up/],
    [`install node-1 current --name ${NAME}`, /is not up/],
    [`--name ${NAME} kubectl --help --nam`, /is not up/], // these are kubectl's arguments
    [`logs node-1 --name ${NAME}`, /no node "node-1": see `npm run cluster -- --name never-started status`/],
    ['--name No! up', /"No!" is no name for a cluster: use 1 to 20/],
    [`--name ../${NAME} down`, /"\.\.\/never-started" is no name for a cluster/],
  ] as const)
    test(`without the cluster: ${argv}`, () => assertRefused(argv.split(' '), line));

  for (const [what, script, line] of [
    ['missing', 'exit 127', /Go cannot be run.* 127: .*Install Go 1\.26 or newer/],
    ['old', 'echo go version go1.19.8 linux/amd64', /go1\.19\.8 linux\/amd64 is too old\. Install Go 1\.26/],
  ] as const)
    test(`with a Go that is ${what}`, () =>
      assertRefused(['up', '--name', NAME], line, fakeGo(what, script)));
});
