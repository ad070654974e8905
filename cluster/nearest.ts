import { UsageError } from '../hack/run.ts';

/** The word of `known` that `word` was most likely meant to be; undefined when none is near. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const ranked = known.map((other) => ({ other, far: distance(word, other) })).sort((a, b) => a.far - b.far);
  const [best] = ranked;
  return best !== undefined && best.far <= Math.max(2, Math.floor(word.length / 3)) ? best.other : undefined;
}

/** The error for a word that is none of `known`: what was meant, or all that there is. */
export function unknownWord(kind: string, word: string, known: readonly string[]): UsageError {
  const meant = nearest(word, known);
  const hint = meant === undefined ? '' : ` Did you mean "${meant}"?`;
  return new UsageError(`There is no ${kind} "${word}".${hint} There is: ${known.join(', ') || 'none'}.`);
}

/** How many letters to insert, delete or replace to make one word of the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
