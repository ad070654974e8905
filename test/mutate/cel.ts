/** A description of an edit, and the resulting text. */
export type TextEdit = { readonly what: string; readonly text: string };

type Token = { readonly text: string; readonly from: number; readonly to: number };

/** The tokens of CEL that occur here (https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax). */
const TOKENS =
  /'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[A-Za-z_]\w*|\d+|&&|\|\||[=!<>]=|\.\?|\[\?|[-+*/%<>!?:.,()[\]{}]/g;
/** Precedence of tokens that end an operand. */
const PRECEDENCE: Readonly<Record<string, number>> = {
  ',': 0,
  '?': 0,
  ':': 0,
  '||': 1,
  '&&': 2,
  '==': 3,
  '!=': 3,
  '>': 3,
  '<': 3,
  in: 3,
  '+': 4,
};
const SWAPS: Readonly<Record<string, readonly string[]>> = {
  '&&': ['||'],
  '||': ['&&'],
  '==': ['!='],
  '!=': ['=='],
  '>': ['>=', '<'],
  '<': ['<=', '>'],
  true: ['false'],
  false: ['true'],
  exists: ['all'],
  startsWith: ['endsWith', 'contains'],
};
const OPENING = ['(', '[', '[?', '{'];
const CLOSING = [')', ']', '}'];

/** All single edits of a CEL expression: operators, operands, conditions, literals and list elements. */
export function editsOfExpression(expression: string): TextEdit[] {
  const tokens = [...expression.matchAll(TOKENS)].map(([text], at, all) => {
    const from = all[at]?.index ?? 0;
    return { text, from, to: from + text.length };
  });
  const found: TextEdit[] = [];
  const replace = (from: number, to: number, by: string, what: string) => {
    const text = `${expression.slice(0, from)}${by}${expression.slice(to)}`;
    found.push({ what, text });
  };
  for (const [at, token] of tokens.entries()) {
    const { text, from, to } = token;
    const near = expression.slice(Math.max(0, from - 24), to + 24).replaceAll(/\s+/g, ' ');
    for (const by of SWAPS[text] ?? []) replace(from, to, by, `${text} to ${by} in \`${near}\``);
    if (text === '!') replace(from, to, '', `no ! in \`${near}\``);
    if (/^\d+$/.test(text))
      replace(from, to, `${Number(text) + 1}`, `${text} to ${Number(text) + 1} in \`${near}\``);
    if (/^['"]/.test(text) && !text.includes(' ')) {
      const by = `${text.slice(0, -1)}~${text.at(-1)}`;
      // An empty string that is not compared is a default for a missing value, so another default is equivalent.
      if (text.length > 2 || ['==', '!='].includes(tokens[at - 1]?.text ?? ''))
        replace(from, to, by, `${text} to ${by} in \`${near}\``);
      for (const [cutFrom, cutTo] of elementAt(tokens, at))
        replace(cutFrom, cutTo, '', `without ${text} in \`${near}\``);
    }
    const level = PRECEDENCE[text];
    if (level === undefined || [',', ':'].includes(text)) continue;
    const left = tokens[operandEnd(tokens, at, level, -1)];
    const right = tokens[operandEnd(tokens, at, level)];
    if (left === undefined || right === undefined) continue;
    if (text === '?') {
      for (const by of ['true', 'false']) {
        replace(left.from, from, `${by} `, `always ${by}: \`${expression.slice(left.from, from).trim()}\``);
      }
    } else if (text === 'in') {
      replace(left.from, right.to, `!(${expression.slice(left.from, right.to)})`, `not \`${near}\``);
    } else if (['&&', '||', '+'].includes(text)) {
      replace(left.from, to, '', `without \`${shorten(expression.slice(left.from, to))}\``);
      replace(from, right.to, '', `without \`${shorten(expression.slice(from, right.to))}\``);
    }
  }
  for (const [at, { text }] of tokens.entries()) {
    if (text !== 'filter') continue;
    const closing = operandEnd(tokens, at + 1, Number.NEGATIVE_INFINITY) + 1;
    const [from = 0, to = 0] = [tokens[at - 1]?.from, tokens[closing]?.to];
    replace(from, to, '', `without \`${shorten(expression.slice(from, to))}\``);
  }
  return found.filter(({ text }) => text.trim() !== '');
}

const shorten = (text: string) => {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length > 90 ? `${line.slice(0, 60)} ... ${line.slice(-25)}` : line;
};

/** The index of the outermost token of an operand of the operator at `at`: of the left one with step -1, else the right one. */
function operandEnd(tokens: readonly Token[], at: number, level: number, step: 1 | -1 = 1): number {
  const [opening, closing] = step === 1 ? [OPENING, CLOSING] : [CLOSING, OPENING];
  let depth = 0;
  for (let index = at + step; index >= 0 && index < tokens.length; index += step) {
    const text = tokens[index]?.text ?? '';
    if (opening.includes(text)) depth++;
    else if (closing.includes(text) && depth-- === 0) return index - step;
    else if (depth === 0 && (PRECEDENCE[text] ?? 9) <= level) return index - step;
  }
  return step === 1 ? tokens.length - 1 : 0;
}

/** The range to delete to remove a literal from its list; empty if it is not a list element. */
function elementAt(tokens: readonly Token[], at: number): readonly (readonly [from: number, to: number])[] {
  const [token, before, after] = [tokens[at], tokens[at - 1], tokens[at + 1]];
  if (token === undefined || before === undefined || after === undefined) return [];
  const opener = tokens
    .slice(0, at)
    .findLastIndex(({ text }) => text === '[' || text === ']' || text === '(');
  const isList = tokens[opener]?.text === '[' && !/^[\w)\]]/.test(tokens[opener - 1]?.text.at(-1) ?? '(');
  if (!(isList || (tokens[opener]?.text === '[' && tokens[opener - 1]?.text === 'in'))) return [];
  if (![',', '['].includes(before.text) || ![',', ']'].includes(after.text)) return [];
  if (before.text === ',') return [[before.from, token.to]];
  return [[token.from, after.text === ',' ? after.to : token.to]];
}
