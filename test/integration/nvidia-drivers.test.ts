import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { driversOf } from '../../agent/runsc/nvidia-drivers.ts';
import { parseRunscRelease } from '../../agent/runsc/program.ts';
import { source, versionOf } from '../../cluster/tool-groups.ts';
import { ensureTools } from '../../cluster/tools.ts';
import { driversOfModule } from '../../hack/nvidia-drivers.ts';
import { run } from '../../hack/run.ts';

for (const group of ['gvisor-2025', 'gvisor', 'gvisor-2026-09'] as const) {
  it(`the table has the NVIDIA drivers of ${group}'s sources, and of its runsc`, async () => {
    const release = await versionOf(group);
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
}
