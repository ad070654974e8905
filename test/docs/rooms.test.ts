import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';

const PROGRAMS = ['agent', 'controller', 'egress', 'kubectl', 'installer'];

/** Relative to the repository: the files that each file imports. */
const IMPORTS = new Map(
  globSync(
    [...PROGRAMS, 'lib', 'cluster', 'hack'].map((top) => `${top}/**/*.ts`),
    { cwd: REPO },
  ).map((file) => {
    const found = readFileSync(join(REPO, file), 'utf8').matchAll(/from '(\.[^']+)'/g);
    return [file, [...found].map(([, path = '']) => join(dirname(file), path))];
  }),
);

const filesOf = (top: string): readonly string[] =>
  [...IMPORTS.keys()].filter((file) => file.startsWith(`${top}/`));

/** The rooms that files of each room import from; those outside `top` begin with "../". */
function imports(top: string): ReadonlyMap<string, ReadonlySet<string>> {
  const roomOf = (file: string) => relative(top, dirname(file)) || '.';
  const found = new Map<string, Set<string>>();
  for (const file of filesOf(top)) {
    const own = roomOf(file);
    const others = (IMPORTS.get(file) ?? []).map(roomOf).filter((other) => other !== own);
    found.set(own, new Set([...(found.get(own) ?? []), ...others]));
  }
  return found;
}

const HEADER = '| room | what lives there | imports from |\n';

/** The rows of a README: a room, and the rooms that it may import from. */
function rooms(top: string): ReadonlyMap<string, readonly string[]> {
  const [, text = ''] = readFileSync(join(REPO, top, 'README.md'), 'utf8').split(HEADER);
  const [table = ''] = text.split('\n\n');
  const rows = table.matchAll(/^\| `([\w./-]+)` \| .* \| (.*)\|$/gm);
  return new Map(
    [...rows].map(([, room = '', others = '']) => [room, others.match(/[\w-]+|(?<=`)\.(?=`)/g) ?? []]),
  );
}

for (const program of PROGRAMS)
  it(`${program} imports from no other program`, () => {
    const others = [...imports(program).values()].flatMap((each) => [...each]);
    const outside = others.filter((other) => other.startsWith('../') && !other.startsWith('../lib/'));
    assert.deepEqual(outside, []);
  });

it('each file of lib serves at least two programs', () => {
  const reached = PROGRAMS.map((program) => {
    const seen = new Set<string>();
    const reach = (file: string): void => {
      if (seen.has(file)) return;
      seen.add(file);
      for (const other of IMPORTS.get(file) ?? []) reach(other);
    };
    for (const file of filesOf(program)) reach(file);
    return seen;
  });
  const declared = (file: string) => file.endsWith('.d.ts');
  const lonely = filesOf('lib').filter((file) => reached.filter((seen) => seen.has(file)).length < 2);
  assert.deepEqual(
    lonely.filter((file) => !declared(file)),
    [],
  );
});

for (const top of ['agent', 'controller', 'kubectl', 'installer', 'lib', 'cluster'])
  describe(`the rooms of ${top}`, () => {
    it('are those of its README, and import only from the rooms named there', () => {
      const named = rooms(top);
      for (const [room, others] of imports(top)) {
        const allowed = named.get(room);
        assert.ok(allowed !== undefined, `${top}/${room} has no row in ${top}/README.md`);
        const inside = [...others].filter((other) => !other.startsWith('../'));
        const wrong = inside.filter((other) => !allowed.includes(other));
        assert.deepEqual(wrong, [], `${top}/${room} imports from a room that its row does not name`);
      }
      assert.deepEqual([...named.keys()].sort(), [...imports(top).keys()].sort());
    });

    it('have no import cycle', () => {
      const named = rooms(top);
      const below = (room: string, path: readonly string[]): void => {
        assert.ok(!path.includes(room), `a circle: ${[...path, room].join(' → ')}`);
        for (const other of named.get(room) ?? []) below(other, [...path, room]);
      };
      for (const room of named.keys()) below(room, []);
    });
  });
