import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkContainers } from '../../../agent/checks/containers.ts';
import {
  criStatus,
  criWith,
  fakeCri,
  inspect,
  outcome,
  outcomeOf,
  sourcesOf,
  sourcesWith,
} from './fake-node.ts';

const SPEC = JSON.stringify({ hooks: { prestart: [{ path: '/usr/bin/hook' }], poststop: null } });
const NODE = { '/s.json': SPEC, '/run/containerd/containerd.sock': '' };

describe('containers', () => {
  for (const [what, changes, files, expected] of [
    ['passes a handler with the defaults', {}, {}, 'pass'],
    ['blocks for io_type = "streaming"', { ioType: 'streaming' }, {}, 'blocker PodsCannotStart'],
    ['blocks for a hook that is not there', { baseRuntimeSpec: '/s.json' }, {}, 'blocker PodsCannotStart'],
    ['passes a hook that is there', { baseRuntimeSpec: '/s.json' }, { '/usr/bin/hook': '' }, 'pass'],
  ] as const)
    it(what, async (t) => {
      const sources = await sourcesWith(t, { ...NODE, ...files }, { cri: criWith(changes) });
      const result = await inspect(checkContainers, sources);
      assert.equal(outcome(result), expected);
      if (expected !== 'pass')
        assert.match(result.message, /^No container of the handler "runsc" starts, because/);
    });

  it('is skipped without a loaded handler', async () =>
    assert.equal(await outcomeOf(checkContainers, sourcesOf('', { cri: fakeCri(criStatus()) })), 'skipped'));
});
