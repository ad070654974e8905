import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import { RequiredNamespaces } from '../../../agent/pods/namespaces.ts';
import type { Kube, WatchEvent } from '../../../lib/kube/client.ts';

const named = (name?: string) => ({ metadata: { name } });
const event = (type: WatchEvent['type'], name?: string): WatchEvent => ({ type, object: named(name) });

describe('RequiredNamespaces', () => {
  it('adds and removes namespaces by label, and keeps them while the API server is down', async () => {
    const seen: string[][] = [];
    const paths: string[] = [];
    const followed = new RequiredNamespaces(() => seen.push([...followed.names].sort()));
    const stop = new AbortController();
    // "eval" loses its label between two watches, and no watch lasts until a bookmark.
    const lists = [
      ['eval', 'kube-system', 'grade'],
      ['ci', 'gvisor-ready'],
    ];
    const watches: (readonly WatchEvent[])[] = [
      [event('DELETED', 'grade')],
      [event('ADDED', 'try'), event('MODIFIED', 'try'), event('BOOKMARK')],
    ];
    const refuse = () => {
      stop.abort();
      return new Error('refused');
    };
    const kube: Pick<Kube, 'get' | 'watch'> = {
      get: async (path) => {
        paths.push(path);
        const items = lists.shift()?.map(named);
        if (items === undefined) throw refuse();
        return { items, metadata: { resourceVersion: String(7 - lists.length) } };
      },
      watch: async function* (path) {
        paths.push(`${path.replace(/timeoutSeconds=\d+/, 'timeoutSeconds=…')}`);
        const events = watches.shift();
        if (events === undefined) throw refuse();
        yield* events;
      },
    };
    assert.equal(followed.known, false);
    await followed.run(kube as Kube, pino({ level: 'silent' }), stop.signal);
    const changes = seen.map((names) => names.join(' '));
    assert.deepEqual(changes, ['eval grade', 'eval', 'ci', 'ci try', 'ci try', 'ci try']);
    assert.deepEqual([...followed.names], ['ci', 'try']);
    assert.equal(followed.known, true);
    const labelled = '/api/v1/namespaces?labelSelector=gvisor-ready.dev%2Frequire%3Dtrue';
    const watch = (version: number) =>
      `${labelled}&watch=1&allowWatchBookmarks=true&resourceVersion=${version}&timeoutSeconds=…`;
    const list = `${labelled}&resourceVersion=0`;
    assert.deepEqual(paths, [list, watch(6), list, watch(7), list]);
  });
});
