import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { OTHER_KUBERNETES } from '../../cluster/tools/tool-groups.ts';
import { REPO } from '../../hack/paths.ts';
import { KUBERNETES } from '../manifests/kubernetes-schemas.ts';

const PAGE = readFileSync(join(REPO, 'docs/tested.md'), 'utf8');
/** The cells of every table row of the page that says what was run. */
const ROWS = PAGE.slice(0, PAGE.indexOf('## By each road'))
  .split('\n')
  .filter((line) => /^\| /.test(line))
  .map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

/** The version that a tool group is built from: the release stamped in its go.mod, or the required module. */
function pinned(group: string, module: string): string {
  const text = readFileSync(join(REPO, 'cluster/tools', group, 'go.mod'), 'utf8');
  const stamped = /stamped as (release-\S+)\.$/m.exec(text)?.[1];
  const required = new RegExp(`^(?:require )?\\s*${module} (v\\S+)`, 'm').exec(text)?.[1];
  return stamped ?? required ?? `no ${module} in ${group}`;
}

describe('docs/tested.md', () => {
  it('lists the Kubernetes versions with schemas, and all that tests build', () => {
    const rows = ROWS.map(([first = '']) => first).filter((cell) => /^v1\.3\d\.\d+$/.test(cell));
    assert.deepEqual(
      rows,
      KUBERNETES.map((version) => `v${version}`),
    );
    for (const group of ['kubernetes', ...OTHER_KUBERNETES.map((minor) => `kubernetes-${minor}`)])
      assert.ok(rows.includes(pinned(group, 'k8s.io/kubernetes')), group);
  });

  it('lists the containerd and gVisor versions that tests build', () => {
    const shown = (part: string) =>
      new Set(ROWS.filter(([first]) => first === part).map(([, version = '']) => version));
    const containerd = [
      pinned('containerd', 'github.com/containerd/containerd/v2'),
      pinned('containerd-1.7', 'github.com/containerd/containerd'),
    ];
    assert.deepEqual(shown('containerd'), new Set(containerd));
    const gvisor = ['gvisor-2025', 'gvisor', 'gvisor-2026-09'].map((group) => pinned(group, ''));
    assert.deepEqual(shown('gVisor'), new Set(gvisor));
  });

  it('says "run" only with an existing test', () => {
    const heads = ['Kubernetes', 'part', 'architecture'];
    for (const cells of ROWS.filter(([first = '']) => !heads.includes(first))) {
      const states = cells.filter((cell) => ['run', 'not run'].includes(cell));
      assert.notEqual(states.length, 0, cells.join(' | '));
      const files = [...(cells.at(-1) ?? '').matchAll(/`((?:test|hack)\/[^`]+)`/g)].map(
        ([, file = '']) => file,
      );
      if (states.some((state) => state !== 'not run')) assert.notEqual(files.length, 0, cells.join(' | '));
      for (const file of files) assert.ok(existsSync(join(REPO, file)), file);
    }
  });
});
