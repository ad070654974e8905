import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { FILES, placed, REPOSITORY, withRegistry, withRepository } from '../../hack/repository.ts';
import { run } from '../../hack/run.ts';

describe('the repository and the registry', () => {
  it('are those of package.json in every file (npm run repository writes them)', async () => {
    assert.match(REPOSITORY, /^https:\/\/[^/]+\/.+\/gvisor-ready$/);
    const stale: string[] = [];
    for (const file of FILES) {
      const text = await readFile(join(REPO, file), 'utf8');
      if (text !== placed(text)) stale.push(file);
    }
    assert.deepEqual(stale, []);
  });

  it('are in no other file', async () => {
    const found = await run('git', ['grep', '-lF', REPOSITORY, '--', ':!test/*.ts'], { cwd: REPO });
    const known = new Set([...FILES, 'package.json']);
    assert.deepEqual(
      found
        .trim()
        .split('\n')
        .filter((file) => !known.has(file)),
      [],
    );
  });

  it('are replaced, whatever was there before', () => {
    const before = (owner: string, host: string) => `* @${owner}
home: ${host}/${owner}/gvisor-ready
maintainers:
  - { name: ${owner} }
maintainers:
- name: ${owner}
authors = [{ name = "${owner}" }]
a: ${host}/${owner}/gvisor-ready//manifests ${host}/${owner}/gvisor-ready/blob/main/docs/gvisor-ready
not: ${host}/other/gvisor-ready-installer
`;
    const first = before('OWNER', 'https://github.com');
    const second = withRepository(first, 'https://git.example.org:8443/group/team/gvisor-ready');
    assert.equal(second.match(/https:\/\/git\.example\.org:8443\/group\/team\/gvisor-ready/g)?.length, 3);
    assert.equal(second.match(/(@|name: |name = ")team\b/g)?.length, 4);
    assert.equal(withRepository(second, 'https://github.com/OWNER/gvisor-ready'), first);
    const registries = '  REGISTRY: ghcr.io\n  IMAGE: ghcr.io/x\n      IMAGE: kept\n';
    const expected = '  REGISTRY: r.example.org\n  IMAGE: r.example.org/x\n      IMAGE: kept\n';
    assert.equal(withRegistry(registries, 'r.example.org'), expected);
  });
});
