import { readFile } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { text as readAll } from 'node:stream/consumers';
import { loadYaml } from '@kubernetes/client-node';
import { errorLine, sanitizeLine } from '../../lib/base/sanitize.ts';
import { askedBy, COMPATIBILITY, type Effect } from '../../lib/pod/features.ts';
import type { Tone } from '../../lib/report/format.ts';
import { exitCodeOf, worstOf } from '../context.ts';
import {
  addressOf,
  type CheckLine,
  checkLines,
  countOf,
  type Format,
  type Output,
  printResult,
} from '../output.ts';

/** `owner` is the kind and name of the object. */
type Found = { readonly owner: string; readonly spec: Readonly<Record<string, unknown>> };

/**
 * `check -f`, from a file, or from standard input for "-". Needs no cluster. Exits with 2 if there is no pod,
 * or if a document cannot be read.
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
  const lines: CheckLine[] = documentsOf(text).flatMap((document, at) => linesOf(document, at + 1));
  if (lines.length === 0) lines.push(unreadable(`"${filename}"`, 'there is no pod and no pod template'));
  const result = worstOf(lines.map(({ tone }) => tone));
  const checks = lines.map(({ id, section, tone, docs, data }) => {
    return { id, object: section, result: tone, ...data, docs: addressOf(docs, output) };
  });
  const owners = new Set(lines.map(({ section }) => section)).size;
  const bad = lines.filter(({ tone }) => tone === 'fail').length;
  const said = `${countOf(owners, 'object')}, ${countOf(bad, 'request')} that gVisor refuses or that hangs.`;
  printResult(output, format, { file: filename, result, checks }, [...checkLines(lines, output), '', said]);
  return exitCodeOf(result);
}

/** Helm's output has empty documents. */
function documentsOf(text: string): readonly string[] {
  return text.split(/^---(?=\s|$)/m).filter((document) => /^\s*[^\s#]/m.test(document));
}

function linesOf(document: string, number: number): readonly CheckLine[] {
  let found: readonly Found[];
  try {
    found = podsIn(loadYaml<unknown>(document));
  } catch (error) {
    return [unreadable(`document ${number}`, errorLine(error))];
  }
  return found.flatMap(({ owner: section, spec }) => {
    const bad = askedBy(spec).filter(({ feature }) => TONES[feature.effect] !== 'pass');
    const sound = 'Asks for nothing that works differently in gVisor';
    if (bad.length === 0) return [lineOf({ id: 'pod', section, tone: 'pass', text: sound })];
    return bad.map(({ id, feature, by }) => {
      const { field, effect, seen, remedy = '' } = feature;
      const whose = by.includes('pod') ? '' : ` (${by.join(', ')})`;
      const text = `${field}${whose}: ${seen} ${remedy}`.trim();
      return lineOf({ id, section, tone: TONES[effect], text, data: { effect, by } });
    });
  });
}

const TONES = {
  works: 'pass',
  refused: 'fail',
  hangs: 'fail',
  ignored: 'warning',
  weaker: 'warning',
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

/**
 * Of pods, workloads and custom resources: whatever has a list of containers. An object that YAML aliases
 * repeat is visited once.
 */
function podsIn(root: unknown): readonly Found[] {
  const found: Found[] = [];
  const visited = new Set<unknown>();
  const visit = (value: unknown, owner: string): void => {
    if (typeof value !== 'object' || value === null || visited.has(value)) return;
    visited.add(value);
    const { kind, metadata, containers } = value as Readonly<Record<string, unknown>>;
    const name = (metadata as { readonly name?: unknown } | undefined)?.name;
    const own = typeof kind === 'string' ? `${kind}/${typeof name === 'string' ? name : '?'}` : owner;
    if (Array.isArray(containers)) found.push({ owner: own, spec: value as Found['spec'] });
    for (const each of Object.values(value)) visit(each, own);
  };
  visit(root, '');
  return found;
}
