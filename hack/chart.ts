import { globSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isMap, isScalar, type Pair, parseDocument, type YAMLMap } from 'yaml';
import FLEET_SETTINGS from '../controller/settings.json' with { type: 'json' };
import type { Setting } from '../lib/base/settings.ts';
import SETTINGS from '../lib/fleet/agent-settings.json' with { type: 'json' };
import { REPO } from './paths.ts';
import { replaceFile } from './unfinished.ts';

/** Relative to the repository. */
export const CHART = 'charts/gvisor-ready';

/** Only kustomize or a plain Prometheus reads these. */
const NOT_IN_CHART = /(^|\/)(kustomization|namespace|transformer|scrape-config|scrape-rbac|rules)\.yaml$/;

const boundsOf = (settings: Readonly<Record<string, Setting>>) =>
  Object.fromEntries(
    Object.entries(settings).flatMap(([name, { bounds }]) => (bounds === undefined ? [] : [[name, bounds]])),
  );

/** Milliseconds, by the values that have the settings. */
const BOUNDS = JSON.stringify({ settings: boundsOf(SETTINGS), 'fleet.settings': boundsOf(FLEET_SETTINGS) });

/**
 * Templates read these from the chart's `files`, which git ignores: Helm reads no file outside of a chart. Safe to run
 * concurrently.
 */
export async function copyManifests(): Promise<void> {
  const manifests = globSync('**/*.{yaml,json}', { cwd: join(REPO, 'manifests') });
  const wanted = new Map([['bounds.json', BOUNDS]]);
  for (const path of manifests.filter((each) => !NOT_IN_CHART.test(each)))
    wanted.set(path, await readFile(join(REPO, 'manifests', path), 'utf8'));
  const files = join(REPO, CHART, 'files');
  for (const path of globSync('**/*.{yaml,json}', { cwd: files }))
    if (!wanted.has(path)) await rm(join(files, path), { force: true });
  for (const [path, content] of wanted) {
    const copy = join(files, path);
    if ((await readFile(copy, 'utf8').catch(() => undefined)) === content) continue;
    await mkdir(dirname(copy), { recursive: true });
    await replaceFile(copy, content);
  }
}

/** The table shows the values of values.yaml. `chart` is a directory. */
export async function chartReadme(
  chart: string = join(REPO, CHART),
): Promise<{ readonly path: string; readonly text: string }> {
  const path = join(chart, 'README.md');
  const { contents } = parseDocument(await readFile(join(chart, 'values.yaml'), 'utf8'));
  const table = ['| value | default | |', '|---|---|---|', ...rows(contents as YAMLMap)].join('\n');
  const [intro = ''] = (await readFile(path, 'utf8')).split(/(?<=^## Values\n)/m);
  return { path, text: `${intro}\n${table}\n` };
}

/** A row for each value, and for each section with a comment. Maps in flow style are values. */
function rows(map: YAMLMap, prefix = ''): readonly string[] {
  return (map.items as Pair[]).flatMap(({ key, value }) => {
    if (!isScalar(key)) throw new Error(`A key below "${prefix}" is no scalar`);
    const name = `${prefix}${key.value}`;
    // The comment above the first key of a map is the map's own.
    const comment =
      key.commentBefore ?? (prefix !== '' && map.items[0]?.key === key ? map.commentBefore : '');
    const text =
      (comment ?? '')
        .split(/\n\s*\n/)
        .at(-1)
        ?.replace(/\s+/g, ' ')
        .trim() ?? '';
    const cell = text.replaceAll('|', '\\|');
    const isSection = isMap(value) && !value.flow;
    const row = `| \`${name}\` | ${isSection ? '' : `\`${JSON.stringify(toJs(value))}\``} | ${cell} |`;
    return [...(isSection && text === '' ? [] : [row]), ...(isSection ? rows(value, `${name}.`) : [])];
  });
}

const toJs = (value: unknown) => (value as { toJSON(): unknown }).toJSON();

if (import.meta.filename === process.argv[1]) {
  await copyManifests();
  const { path, text } = await chartReadme();
  await writeFile(path, text);
}
