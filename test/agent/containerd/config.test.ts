import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { readContainerdConfig, resolveConfig } from '../../../agent/containerd/config.ts';
import { parseContainerdFile } from '../../../agent/containerd/config-files.ts';
import { TomlFault } from '../../../agent/containerd/toml.ts';
import { tempHost } from '../host/temp-host.ts';
import { file, ROOT, RUNC, RUNSC, V1, V2, V3 } from './tables.ts';

describe('readContainerdConfig', () => {
  it('tells the file and the line of a handler, its options, and the last file that had a word in it', async (t) => {
    const host = await tempHost(t, {
      [ROOT]: `version = 3\nimports = ["d/*.toml"]\n\n[${V3}.runsc]\n${RUNC}\n`,
      '/etc/containerd/d/a.toml': `version = 3\n\n\n[${V3}.runsc]\n${RUNSC}\nsnapshotter = "native"\npod_annotations = ["dev.gvisor.*"]\n[${V3}.runsc.options]\nConfigPath = "/x"\n`,
    });
    const { runtimes, files } = await readContainerdConfig(host, ROOT, 'v2.2.2');
    assert.deepEqual(files, [ROOT, '/etc/containerd/d/a.toml']);
    assert.deepEqual(runtimes.get('runsc'), {
      runtimeType: 'io.containerd.runsc.v1',
      runtimePath: '',
      snapshotter: 'native',
      podAnnotations: ['dev.gvisor.*'],
      options: { ConfigPath: '/x' },
      file: '/etc/containerd/d/a.toml',
      line: 4,
    });
    assert.deepEqual(runtimes.get('runc'), {
      runtimeType: 'io.containerd.runc.v2',
      runtimePath: '',
      snapshotter: '',
      podAnnotations: [],
      options: {},
    });
  });

  it('says where a handler is ignored, and why', async (t) => {
    const host = await tempHost(t, { [ROOT]: `version = 3\n\n[${V2}.runsc]\n${RUNSC}\n` });
    const { ignored } = await readContainerdConfig(host, ROOT, 'v2.1.5');
    assert.deepEqual(ignored, [
      {
        handler: 'runsc',
        file: ROOT,
        line: 3,
        why: 'the configuration counts as version 3, where containerd reads [plugins."io.containerd.cri.v1.runtime".containerd.runtimes]',
        isLoaded: true,
      },
    ]);
  });

  it('judges by the version of the files when the release is not known, and says so', async (t) => {
    for (const [version, table, rules] of [
      ['2', V2, '1.x'],
      ['3', V3, '2.0'],
      ['4', V3, '2.3'],
    ] as const) {
      const host = await tempHost(t, { [ROOT]: file(version, table) });
      const config = await readContainerdConfig(host, ROOT);
      assert.deepEqual(
        [config.rules, config.rulesAssumed, config.runtimes.has('runsc')],
        [rules, true, true],
      );
    }
  });

  it('knows only the built-in handler without a root file, even beside drop-ins', async (t) => {
    const host = await tempHost(t, { '/etc/containerd/conf.d/a.toml': file('3', V3) });
    const config = await readContainerdConfig(host, ROOT, 'v2.4.2');
    assert.deepEqual([...config.runtimes.keys()], ['runc']);
    assert.deepEqual(config.files, []);
    assert.match(config.ignored.at(-1)?.why ?? '', /no file that containerd loads imports/);
  });

  it('finds a handler in a drop-in with another ending, and in the file that other distributions read', async (t) => {
    const k3s = '/var/lib/rancher/k3s/agent/etc/containerd';
    const host = await tempHost(t, {
      [`${k3s}/config.toml`]: 'version = 3\nimports = ["config-v3.toml.d/*.toml"]\n',
      [`${k3s}/config-v3.toml.d/runsc.conf`]: file('3', V3),
      [ROOT]: file('2', V2),
    });
    const { ignored } = await readContainerdConfig(host, `${k3s}/config.toml`, 'v2.1.5-k3s1');
    const runsc = ignored.filter(({ handler }) => handler === 'runsc');
    assert.deepEqual(
      runsc.map((mention) => mention.file),
      [`${k3s}/config-v3.toml.d/runsc.conf`, ROOT],
    );
    assert.ok(runsc.every(({ isLoaded }) => !isLoaded));
  });
});

describe('resolveConfig', () => {
  const table = fc.constantFrom(V1, V2, V3, 'plugins.io.containerd.cri', V3.replace(/s$/, ''), 'plugins.x');
  const handler = fc.constantFrom('runc', 'runsc', 'kata', '__proto__', 'constructor', '"a.b"');
  const text = fc
    .record({
      version: fc.constantFrom('', 'version = 1\n', 'version = 2\n', 'version = 3\n', 'version = 4\n'),
      entries: fc.uniqueArray(fc.tuple(table, handler, fc.constantFrom(RUNSC, RUNC, '', 'x = 1')), {
        selector: ([id, name]) => `${id}.${name}`,
        maxLength: 5,
      }),
    })
    .map(
      ({ version, entries }) =>
        version + entries.map(([id, name, line]) => `[${id}.${name}]\n${line}\n`).join(''),
    );
  const rules = fc.constantFrom('1.x', '2.0', '2.3' as const);

  it('grants no handler that no file names, and loses no mention without a word', () => {
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), rules, (texts, chosen) => {
        const files = texts.map((content, index) => parseContainerdFile(content, `/${index}`));
        const config = resolveConfig(files, chosen);
        for (const [name, runtime] of config.runtimes) {
          if (name === 'runc' && runtime.file === undefined) continue;
          assert.ok(
            texts.some((content) => content.includes(name)),
            name,
          );
          assert.ok(runtime.file !== undefined && (runtime.line ?? 0) > 0);
        }
        for (const name of ['runsc', 'kata']) {
          const isNamed = texts.some(
            (content) => content.includes(`.${name}]`) && /runtimes?\.|runtime_type/.test(content),
          );
          const isSeen =
            config.runtimes.has(name) || config.ignored.some((mention) => mention.handler === name);
          const isPlain = !texts.some(
            (content) => content.includes(`plugins.x.${name}]`) || content.includes(`cri.${name}]`),
          );
          if (isNamed && isPlain && !config.fault) assert.ok(isSeen, `${name} in ${JSON.stringify(texts)}`);
        }
      }),
    );
  });

  it('ends with an answer or a fault for any text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'[]"=.\n1{} pluginscrimtv'), maxLength: 200 }),
        rules,
        (content, chosen) => {
          try {
            resolveConfig([parseContainerdFile(content, '/x')], chosen);
          } catch (error) {
            assert.ok(error instanceof TomlFault, String(error));
          }
        },
      ),
    );
  });
});
