import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { watchContainerd } from '../../../agent/trigger/containerd.ts';
import { HANGS } from '../proof/containerd-scripts.ts';
import { fakeContainerd } from '../proof/fake-containerd.ts';

/** A watch of a fake containerd that has answered once; `heard` gives the changes one after the other. */
async function watched(t: TestContext, { everyMs, answerMs } = { everyMs: 60_000, answerMs: 60_000 }) {
  const stop = new AbortController();
  let done = Promise.resolve();
  // Before the fake's own, which closes the client.
  t.after(async () => {
    stop.abort();
    await done;
  });
  const { containerd, client } = await fakeContainerd(t, {}, { answerMs });
  const words: string[] = [];
  let next = Promise.withResolvers<void>();
  const asked = containerd.called('Version');
  done = watchContainerd(
    client,
    (what) => {
      words.push(what);
      next.resolve();
    },
    stop.signal,
    everyMs,
  );
  await asked;
  await client.version(); // so the first answer has been heard
  const heard = async () => {
    while (words.length === 0) {
      await next.promise;
      next = Promise.withResolvers<void>();
    }
    return words.shift();
  };
  return { containerd, stop, done, words, heard };
}

describe('watchContainerd', () => {
  it('hears at once that containerd is gone, and that it is back', async (t) => {
    const { containerd, heard } = await watched(t);
    for (const _ of [1, 2]) {
      await containerd.stop();
      assert.equal(await heard(), 'gone');
      await containerd.start();
      assert.equal(await heard(), 'back');
    }
  });

  it('hears of a restart that is over before anything was asked', async (t) => {
    const { containerd, heard } = await watched(t);
    const stopping = containerd.stop();
    await Promise.all([stopping, stopping.then(() => containerd.start())]);
    let last = await heard();
    if (last === 'gone') last = await heard();
    assert.equal(last, 'back');
  });

  it('tells one that answers late from one whose connection broke', async (t) => {
    const { containerd, heard } = await watched(t, { everyMs: 20, answerMs: 3_000 });
    containerd.scripts = { Version: HANGS };
    assert.equal(await heard(), 'slow');
    containerd.scripts = {};
    assert.equal(await heard(), 'responsive');
    containerd.scripts = { Version: HANGS };
    assert.equal(await heard(), 'slow');
    await containerd.stop();
    containerd.scripts = {};
    await containerd.start();
    assert.equal(await heard(), 'back');
  });

  it('says nothing while all is well, and ends with its signal', async (t) => {
    const { containerd, stop, done, words } = await watched(t, { everyMs: 10, answerMs: 10_000 });
    for (let pulse = 0; pulse < 5; pulse++) await containerd.called('Version');
    stop.abort();
    await done;
    assert.deepEqual(words, []);
  });

  it('ends with its signal while a question is open', async (t) => {
    const { containerd, stop, done } = await watched(t, { everyMs: 10, answerMs: 60_000 });
    containerd.scripts = { Version: HANGS };
    await containerd.called('Version');
    stop.abort();
    await done;
    assert.ok(stop.signal.aborted);
  });
});
