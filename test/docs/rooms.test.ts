import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';

const PROGRAMS = ['agent', 'controller', 'kubectl', 'installer'];

/** The directories that files of each directory import from, all relative to `top`; others begin with "../". */
function imports(top: string): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  for (const file of globSync('**/*.ts', { cwd: join(REPO, top) })) {
    const own = dirname(file);
    const others = found.get(own) ?? new Set<string>();
    found.set(own, others);
    for (const [, path = ''] of readFileSync(join(REPO, top, file), 'utf8').matchAll(/from '(\.[^']+)'/g)) {
      const other = relative('.', dirname(join(own, path))) || '.';
      if (other !== own) others.add(other);
    }
  }
  return found;
}

/** The rows of a README: a room, and the rooms that it may import from. */
function rooms(top: string): ReadonlyMap<string, readonly string[]> {
  const text = readFileSync(join(REPO, top, 'README.md'), 'utf8');
  const rows = text.matchAll(/^\| `([\w./]+)` \| .* \| (.*)\|$/gm);
  return new Map([...rows].map(([, room = '', others = '']) => [room, others.match(/[\w/]+/g) ?? []]));
}

for (const program of PROGRAMS)
  it(`${program} imports from no other program`, () => {
    const others = [...imports(program).values()].flatMap((each) => [...each]);
    const outside = others.filter((other) => other.startsWith('../') && !other.startsWith('../lib/'));
    assert.deepEqual(outside, []);
  });

for (const top of ['agent', 'lib'])
  describe(`the rooms of ${top}`, () => {
    it('are those of its README, and import only from the rooms named there', () => {
      const named = rooms(top);
      for (const [room, others] of imports(top)) {
        const allowed = named.get(room);
        assert.ok(allowed !== undefined, `${top}/${room} has no row in ${top}/README.md`);
        if (room === '.') continue;
        const shared = (other: string) => top === 'agent' && (other === '.' || other.startsWith('../lib/'));
        const wrong = [...others].filter((other) => !allowed.includes(other) && !shared(other));
        assert.deepEqual(wrong, [], `${top}/${room} imports from a room that its row does not name`);
      }
      assert.deepEqual([...named.keys()].sort(), [...imports(top).keys()].sort());
    });

    it('have no import cycle', () => {
      const named = new Map([...rooms(top)].filter(([room]) => room !== '.'));
      const below = (room: string, path: readonly string[]): void => {
        assert.ok(!path.includes(room), `a circle: ${[...path, room].join(' → ')}`);
        for (const other of named.get(room) ?? []) below(other, [...path, room]);
      };
      for (const room of named.keys()) below(room, []);
    });
  });
