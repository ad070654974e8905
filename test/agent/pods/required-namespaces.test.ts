import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import type { Kube, WatchEvent } from '../../../agent/kube/client.ts';
import { RequiredNamespaces } from '../../../agent/pods/required-namespaces.ts';

const told = (type: WatchEvent['type'], name?: string): WatchEvent => ({
  type,
  object: { metadata: { name } },
});

describe('RequiredNamespaces', () => {
  it('holds what is labelled, drops what is not any more, and keeps its names while nothing can be heard', async () => {
    const seen: string[][] = [];
    const paths: string[] = [];
    const followed = new RequiredNamespaces(() => seen.push([...followed.names].sort()));
    const stop = new AbortController();
    const watches: (readonly WatchEvent[])[] = [
      [
        told('ADDED', 'eval'),
        told('ADDED', 'kube-system'),
        told('ADDED', 'grade'),
        told('BOOKMARK'),
        told('DELETED', 'grade'),
      ],
      // "eval" lost its label while nobody listened, which the bookmark of the next watch shows.
      [told('ADDED', 'ci'), told('MODIFIED', 'ci'), told('BOOKMARK')],
    ];
    const watch = async function* (path: string, extent: string): AsyncGenerator<WatchEvent> {
      paths.push(`${path.replace(/timeoutSeconds=\d+/, 'timeoutSeconds=…')} ${extent}`);
      const events = watches.shift();
      if (events === undefined) {
        stop.abort();
        throw new Error('refused');
      }
      yield* events;
    };
    assert.equal(followed.known, false);
    await followed.run({ watch } as unknown as Kube, pino({ level: 'silent' }), stop.signal);
    assert.deepEqual(seen, [
      ['eval'],
      ['eval'],
      ['eval', 'grade'],
      ['eval', 'grade'],
      ['eval'],
      ['ci', 'eval'],
      ['ci', 'eval'],
      ['ci'],
    ]);
    assert.deepEqual([...followed.names], ['ci']);
    assert.equal(followed.known, true);
    assert.equal(
      paths[0],
      '/api/v1/namespaces?labelSelector=require-gvisor%3Dtrue&watch=1&allowWatchBookmarks=true&resourceVersion=0&timeoutSeconds=… metadata',
    );
  });
});
