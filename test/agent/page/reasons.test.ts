import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { renderReasons } from '../../../agent/page/reasons.ts';
import { REASONS } from '../../../agent/reasons.ts';

describe('renderReasons', () => {
  const page = renderReasons();

  it('has each reason once, under an id of its own, with what to do', () => {
    const ids = [...page.matchAll(/<div id="(\w+)">/g)].map(([, id = '']) => id);
    assert.deepEqual(ids.toSorted(), Object.keys(REASONS).toSorted());
    assert.ok(
      page.includes(
        '<div id="RunscTooOld"><dt><code>RunscTooOld</code></dt><dd>Install a newer gVisor release.</dd>',
      ),
    );
  });

  it('says what each group means for the node, faults first', () => {
    const headings = [...page.matchAll(/<h2 id="status-(\w+)">/g)].map(([, status]) => status);
    assert.deepEqual(headings, ['False', 'Unknown', 'True']);
  });

  it('needs no script', () => assert.doesNotMatch(page, /<script/));
});
