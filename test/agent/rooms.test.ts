import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';

const AGENT = join(REPO, 'agent');

/** The rows of agent/README.md: a room, and the rooms that it may import from. */
function rooms(): ReadonlyMap<string, readonly string[]> {
  const rows = readFileSync(join(AGENT, 'README.md'), 'utf8').matchAll(/^\| `([\w.]+)` \| .* \| (.*)\|$/gm);
  return new Map([...rows].map(([, room = '', others = '']) => [room, others.match(/\w+/g) ?? []]));
}

/** The rooms that files of each room import from, without the shared types of `agent/` itself. */
function imports(): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  for (const file of globSync('**/*.ts', { cwd: AGENT })) {
    const own = dirname(file);
    const others = found.get(own) ?? new Set<string>();
    found.set(own, others);
    for (const [, path = ''] of readFileSync(join(AGENT, file), 'utf8').matchAll(/from '(\.[^']+)'/g)) {
      const other = dirname(relative('.', normalize(join(own, path))));
      if (other !== own && other !== '.') others.add(other);
    }
  }
  return found;
}

describe('the rooms of the agent', () => {
  it('are those of its README, and import only from the rooms named there', () => {
    const named = rooms();
    for (const [room, others] of imports()) {
      const allowed = named.get(room);
      assert.ok(allowed !== undefined, `agent/${room} has no row in agent/README.md`);
      if (room === '.') continue;
      const wrong = [...others].filter((other) => !allowed.includes(other));
      assert.deepEqual(wrong, [], `agent/${room} imports from a room that its row does not name`);
    }
    assert.deepEqual([...named.keys()].sort(), [...imports().keys()].sort());
  });

  it('have no import cycle', () => {
    const named = new Map([...rooms()].filter(([room]) => room !== '.'));
    const below = (room: string, path: readonly string[]): void => {
      assert.ok(!path.includes(room), `a circle: ${[...path, room].join(' → ')}`);
      for (const other of named.get(room) ?? []) below(other, [...path, room]);
    };
    for (const room of named.keys()) below(room, []);
  });
});
