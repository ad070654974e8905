import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Column, tableLines } from '../../kubectl/output.ts';

type Row = { readonly name: string; readonly why: string; readonly age: string };

const COLUMNS: readonly Column<Row>[] = [
  { head: 'NAME', cell: ({ name }) => name },
  { head: 'AGE', cell: ({ age }) => age, spare: 1 },
  { head: 'WHY', cell: ({ why }) => why, cut: true, spare: 2 },
  { head: 'MORE', cell: () => 'more', wide: true, spare: 3 },
];
const ROWS = [
  { name: 'node-1', age: '5m', why: 'the shim is not in the usual folders' },
  { name: 'ip-10-0-12-34.eu-central-1.compute.internal', age: '5m', why: '-' },
];
const screenOf = (columns: number) => ({ columns, colored: false, out: () => {}, err: () => {} });
const lines = (columns: number, options = {}) =>
  tableLines(COLUMNS, ROWS, { screen: screenOf(columns), ...options });

describe('a table', () => {
  it('is as wide as it is where it is no terminal', () =>
    assert.deepEqual(lines(Number.POSITIVE_INFINITY), [
      'NAME                                          AGE   WHY',
      'node-1                                        5m    the shim is not in the usual folders',
      'ip-10-0-12-34.eu-central-1.compute.internal   5m    -',
    ]));

  it('cuts texts first, then leaves columns out, and cuts names last', () => {
    assert.equal(lines(80)[1], 'node-1                                        5m    the shim is not in the…');
    assert.equal(lines(60)[0], 'NAME                                          AGE');
    assert.equal(lines(45)[0], 'NAME');
    assert.equal(lines(20)[2], 'ip-10-0-12….internal');
  });

  it('never gets wider than the terminal', () => {
    for (let columns = 12; columns <= 120; columns++)
      assert.deepEqual(
        lines(columns, { wide: true }).filter((line) => line.length > columns),
        [],
      );
  });

  it('has the wide columns when asked, and no head when not', () => {
    assert.match(lines(200, { wide: true })[0] ?? '', /MORE$/);
    assert.equal(lines(200, { headers: false }).length, 2);
  });

  it('aligns rows with those that were shown before', () => {
    const late = tableLines(COLUMNS, ROWS.slice(0, 1), {
      screen: screenOf(200),
      headers: true,
      before: ROWS,
    });
    assert.equal(late[1], lines(200)[1]);
  });
});
