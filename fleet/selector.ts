/** Whether a Node's labels match. */
export type Selector = (labels: Readonly<Record<string, string>>) => boolean;

/** A person writes two or three; each is compared with the labels of every Node. */
const MOST_TERMS = 20;

/**
 * Parses a selector of `key`, `key=value`, `key!=value` and `!key`, with commas between. Undefined for one that asks for
 * nothing; a text says why it is refused.
 */
export function parseSelector(text: string): Selector | string | undefined {
  const terms = text.split(',').flatMap(parseTerm);
  if (terms.length === 0) return undefined;
  if (terms.length > MOST_TERMS) return `a selector has at most ${MOST_TERMS} terms`;
  return (labels) => terms.every((matches) => matches(labels));
}

function parseTerm(text: string): Selector[] {
  const [, not = '', name = '', operator, rest = ''] = /^(!?)([^=!]*)(!=|==?)?(.*)$/.exec(text.trim()) ?? [];
  const key = name.trim();
  const value = rest.trim();
  if (key === '') return [];
  if (operator === '!=') return [(labels) => labels[key] !== value];
  if (operator !== undefined) return [(labels) => labels[key] === value];
  return [(labels) => (labels[key] === undefined) === (not === '!')];
}
