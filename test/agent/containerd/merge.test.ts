import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readContainerdConfig } from '../../../agent/containerd/config.ts';
import { tempHost } from '../host/temp-host.ts';
import { file, ROOT, RUNC, RUNSC, V1, V2, V3 } from './tables.ts';

/** `verdicts` says what becomes of the handler under some releases: configured, ignored, fault or absent. */
type Row = readonly [name: string, root: string, verdicts: string, dropIn?: string];

const IMPORT = 'imports = ["d/*.toml"]\n';
const RUNC_ONLY = (version: string, table: string) =>
  `${IMPORT}version = ${version}\n[${table}.runc]\n${RUNC}\n`;

const ROWS: readonly Row[] = [
  [
    'a table of version 1 without a version',
    file('', V1),
    '1.7.34 configured, v2.2.2 ignored, v2.4.2 configured',
  ],
  [
    'a table of version 1 that says so',
    file('1', V1),
    '1.7.34 configured, v2.2.2 ignored, v2.4.2 configured',
  ],
  [
    'a table of version 2 without a version',
    file('', V2),
    '1.7.34 ignored, v2.2.2 ignored, v2.4.2 configured',
  ],
  ['a table of version 2', file('2', V2), '1.7.34 configured, v2.2.2 configured, v2.4.2 configured'],
  ['a short name in version 2', file('2', V1), '1.7.34 fault, v2.2.2 ignored, v2.4.2 ignored'],
  ['a table of version 2 in version 3', file('3', V2), '1.7.34 fault, v2.2.2 ignored, v2.4.2 configured'],
  ['a table of version 3', file('3', V3), '1.7.34 fault, v2.2.2 configured, v2.4.2 configured'],
  [
    'a table of version 3 in version 2',
    file('2', V3),
    '1.7.34 ignored, v2.2.2 configured, v2.4.2 configured',
  ],
  ['version 4', file('4', V3), '1.7.34 fault, v2.2.2 fault, v2.3.7 configured, v2.4.2 configured'],
  ['a table of version 2 in version 4', file('4', V2), 'v2.4.2 ignored'],
  ['version 5', file('5', V3), 'v2.4.2 fault'],
  [
    'an unquoted plugin id',
    file('3', 'plugins.io.containerd.cri.v1.runtime.containerd.runtimes'),
    'v2.2.2 ignored, v2.4.2 ignored',
  ],
  ['"runtime" instead of "runtimes"', file('3', V3.replace(/s$/, '')), 'v2.2.2 ignored, v2.4.2 ignored'],
  ['the images plugin', file('3', V3.replace('runtime"', 'images"')), 'v2.2.2 ignored, v2.4.2 ignored'],
  [
    'a table outside of plugins',
    file('3', '"io.containerd.cri.v1.runtime".containerd.runtimes'),
    'v2.2.2 ignored',
  ],
  [
    'version 3 and a drop-in of version 2',
    RUNC_ONLY('3', V3),
    'v2.2.2 ignored, v2.4.2 configured',
    file('2', V2),
  ],
  [
    'version 2 and a drop-in of version 3',
    RUNC_ONLY('2', V2),
    '1.7.34 fault, v2.2.2 configured, v2.4.2 configured',
    file('3', V3),
  ],
  [
    'version 2 with the handler and a drop-in that only says version 3',
    file('2', V2, IMPORT),
    '1.7.34 fault, v2.2.2 ignored, v2.4.2 configured',
    'version = 3\n',
  ],
  [
    'version 3 and a drop-in of version 2 without a version',
    RUNC_ONLY('3', V3),
    'v2.2.2 ignored, v2.4.2 configured',
    file('', V2),
  ],
  [
    'version 2 and a drop-in without a version',
    RUNC_ONLY('2', V2),
    '1.7.34 configured, v2.2.2 configured, v2.4.2 configured',
    file('', V2),
  ],
  [
    'version 2 and a drop-in that sets only the registry',
    file('2', V2, IMPORT),
    '1.7.34 ignored, v2.2.2 configured, v2.4.2 configured',
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/c"\n',
  ],
  [
    'a list of runtimes instead of a table',
    `version = 3\n[[${V3}]]\n${RUNSC}\n`,
    'v2.2.2 fault, v2.4.2 fault',
  ],
  ['a runtime_type that is no string', `version = 3\n[${V3}.runsc]\nruntime_type = 1\n`, 'v2.4.2 fault'],
  [
    'a table of runtimes without the default handler',
    `version = 2\n[${V2}.runsc]\n${RUNSC}\n`,
    '1.7.34 fault, v2.2.2 configured, v2.4.2 configured',
  ],
  [
    'a default handler that is nowhere',
    `${file('3', V3)}[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "kata"\n`,
    'v2.4.2 fault',
  ],
  [
    'the CRI plugin disabled',
    `disabled_plugins = ["io.containerd.grpc.v1.cri"]\n${file('2', V2)}`,
    '1.7.34 fault, v2.4.2 fault',
  ],
  [
    'both generations of table in one file, runsc in the older',
    `version = 2\n[${V2}.runsc]\n${RUNSC}\n[${V3}.runc]\n${RUNC}\n`,
    'v2.2.2 ignored, v2.4.2 ignored',
  ],
  [
    'dotted keys and an inline table',
    `version = 3\n[${V3}]\nrunsc.runtime_type = "io.containerd.runsc.v1"\nrunc = { ${RUNC} }\n`,
    'v2.2.2 configured, v2.4.2 configured',
  ],
  ['only comments', `# version = 3\n# [${V3}.runsc]\n`, '1.7.34 absent, v2.4.2 absent'],
  ['an empty file', '', '1.7.34 absent, v2.4.2 absent'],
  ['a version in quotes', `version = "3"\n[${V3}.runsc]\n${RUNSC}\n`, 'v2.4.2 fault'],
];

describe('mergeFiles, by the rules of each release', () => {
  for (const [name, root, verdicts, dropIn] of ROWS) {
    for (const [release = '', verdict] of verdicts.split(', ').map((each) => each.split(' '))) {
      it(`finds runsc ${verdict} in ${name} under ${release}`, async (t) => {
        const host = await tempHost(t, {
          [ROOT]: root,
          ...(dropIn !== undefined && { '/etc/containerd/d/a.toml': dropIn }),
        });
        const config = await readContainerdConfig(host, ROOT, release);
        const isIgnored = config.ignored.some(({ handler }) => handler === 'runsc');
        const seen = config.fault
          ? 'fault'
          : config.runtimes.has('runsc')
            ? 'configured'
            : isIgnored
              ? 'ignored'
              : 'absent';
        assert.equal(seen, verdict, JSON.stringify(config));
      });
    }
  }
});
