import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { driversOf } from '../../agent/runsc/nvidia-drivers.ts';
import { source, toolVersion } from '../../cluster/tools/tool-groups.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { driversOfModule } from '../../hack/nvidia-drivers.ts';
import { run, runAll } from '../../hack/run.ts';
import { parseRunscRelease } from '../../lib/runsc/program.ts';

for (const group of ['gvisor-2025', 'gvisor', 'gvisor-2026-09'] as const) {
  it(`the table has the NVIDIA drivers of ${group}'s sources, and of its runsc`, async () => {
    const release = await toolVersion(group);
    const known = driversOf(parseRunscRelease(release));
    assert.ok(known !== undefined, `${release} is not in agent/runsc/nvidia-drivers.json`);
    const cwd = source(group);
    const module = await run('go', ['list', '-m', '-f', '{{.Version}}', 'gvisor.dev/gvisor'], { cwd });
    assert.deepEqual(await driversOfModule(module.trim()), {
      supported: known.supported.join(' '),
      unqualified: known.unqualified.join(' '),
    });
    const tools = await ensureTools([group]);
    const listed = await run(join(tools[group], 'runsc'), ['nvproxy', 'list-supported-drivers']);
    assert.deepEqual(listed.trim().split('\n'), known.supported);
  });

  it(`${group}'s sandboxes start with the drivers of the table only`, async (t) => {
    const runsc = join((await ensureTools([group]))[group], 'runsc');
    const { supported = [], unqualified = [] } = driversOf(parseRunscRelease(await toolVersion(group))) ?? {};
    const root = await mkdtemp(join(tmpdir(), 'runsc-'));
    t.after(() => rm(root, { recursive: true }));
    const start = async (driver: string, ...flags: string[]) => {
      const options = ['--root', root, '--network=none', '--ignore-cgroups', '--nvproxy', ...flags];
      const args = [...options, `--nvproxy-driver-version=${driver}`, 'do', 'true'];
      const { code, stderr } = await runAll(runsc, args, { env: { ...process.env, TMPDIR: root } });
      return code === 0 ? 'started' : stderr.trim().split(': ').at(-1);
    };
    for (const driver of supported) assert.equal(await start(driver), 'started', driver);
    for (const driver of ['570.211.01', ...unqualified]) assert.equal(await start(driver), 'EOF', driver);
    const allow = '--nvproxy-allow-unsupported-driver';
    for (const driver of unqualified) assert.equal(await start(driver, allow), 'started', driver);
    if (unqualified.length > 0) assert.equal(await start('570.211.01', allow), 'EOF');
  });
}
