import { readFile } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { text as readAll } from 'node:stream/consumers';
import { sanitizeLine } from '../../lib/base/sanitize.ts';
import { firstOf } from '../../lib/fleet/objects.ts';
import type { Tone } from '../../lib/report/format.ts';
import { exitCodeOf, worstOf } from '../api/context.ts';
import { askedBy, COMPATIBILITY, type Effect } from '../pods/features.ts';
import { type ManifestPart, readManifests } from '../pods/pods-in-manifests.ts';
import {
  type CheckLine,
  checkLines,
  countOf,
  type Format,
  type Output,
  pageAddress,
  printResult,
} from '../text/output.ts';

/**
 * `check -f`, from a file, or from standard input for "-". Needs no cluster. Exits with 1 if something is refused or
 * hangs, else with 2 if there is no pod, or if a document cannot be read.
 */
export async function checkFile(
  output: Output,
  signal: AbortSignal,
  { filename, output: format }: { readonly filename: string; readonly output?: Format },
): Promise<number> {
  const text =
    filename === '-'
      ? await readAll(addAbortSignal(signal, process.stdin))
      : await readFile(filename, { encoding: 'utf8', signal }).catch((cause: unknown) => {
          throw new Error(`Cannot read the manifests "${filename}"`, { cause });
        });
  const parts = readManifests(text);
  const lines = parts.flatMap(linesOf);
  const judged = lines.filter(({ id }) => id !== 'Manifest');
  if (lines.every(({ id, tone }) => id === 'Manifest' && tone === 'warning'))
    lines.push(unreadable(`"${filename}"`, `there is no pod and no pod template${whatIsThere(parts)}`));
  const result = worstOf(lines.map(({ tone }) => tone));
  const checks = lines.map(({ id, section, tone, docs, data }) => {
    return { id, object: section, result: tone, ...data, docs: pageAddress(docs, output) };
  });
  const owners = new Set(judged.map(({ section }) => section)).size;
  const bad = judged.filter(({ tone }) => tone === 'fail').length;
  const said =
    owners === 0
      ? 'No pod was judged.'
      : `${countOf(owners, 'object')}, ${countOf(bad, 'request')} that gVisor refuses or that hangs. What is not in the table was not tried.`;
  printResult(output, format, { file: filename, result, checks }, [...checkLines(lines, output), '', said]);
  return exitCodeOf(result);
}

function whatIsThere(parts: readonly ManifestPart[]): string {
  const places = parts.filter(({ kind }) => kind === 'noPod').map(({ place }) => place);
  if (places.length === 0) return '; it is empty';
  return `, but ${firstOf(places)}. Give the file with the containers`;
}

function linesOf(part: ManifestPart): readonly CheckLine[] {
  const { kind, place: section } = part;
  if (kind === 'noPod') return [];
  if (kind === 'unreadable') return [unreadable(section, part.why)];
  if (kind === 'duplicateKey') {
    const text = `The key "${part.key}" is there twice; the last one was judged`;
    return [lineOf({ id: 'Manifest', section, tone: 'warning', text })];
  }
  const asked = askedBy(part.spec).filter(({ feature }) => TONES[feature.effect] !== 'pass');
  const nothing = 'Nothing that the table knows to differ in gVisor';
  if (asked.length === 0) return [lineOf({ id: 'pod', section, tone: 'pass', text: nothing })];
  return asked.map(({ feature, by }) => {
    const { id, field, effect, seen, remedy = '' } = feature;
    const whose = by.includes('pod') ? '' : ` (${by.join(', ')})`;
    const notRun = effect === 'untried' ? 'Not run here.' : '';
    const text = [`${field}${whose}:`, notRun, seen, remedy].filter(Boolean).join(' ');
    return lineOf({ id, section, tone: TONES[effect], text, data: { effect, by } });
  });
}

const TONES = {
  works: 'pass',
  refused: 'fail',
  hangs: 'fail',
  ignored: 'warning',
  weaker: 'warning',
  untried: 'warning',
} as const satisfies Record<Effect, Tone>;

function unreadable(section: string, why: string): CheckLine {
  return lineOf({ id: 'Manifest', section, tone: 'unknown', text: `Cannot be judged: ${why}` });
}

function lineOf({
  section,
  text,
  data = {},
  ...rest
}: Omit<CheckLine, 'docs' | 'data'> & Partial<CheckLine>) {
  return { section: sanitizeLine(section), text: sanitizeLine(text), docs: COMPATIBILITY, data, ...rest };
}
