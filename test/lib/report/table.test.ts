import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Column, markedLines, tableLines, truncateText } from '../../../lib/report/table.ts';

type Row = { readonly name: string; readonly why: string; readonly age: string };

const COLUMNS: readonly Column<Row>[] = [
  { head: 'NAME', cell: ({ name }) => name },
  { head: 'AGE', cell: ({ age }) => age, spare: 1 },
  { head: 'WHY', cell: ({ why }) => why, prose: true, spare: 2 },
  { head: 'MORE', cell: () => 'more', wide: true, spare: 3, color: () => 'red' },
];
const ROWS = [
  { name: 'node-1', age: '5m', why: 'the shim is not in the usual directories' },
  { name: 'ip-10-0-12-34.eu-central-1.compute.internal', age: '5m', why: '-' },
];
const lines = (width: number, options = {}) =>
  tableLines(COLUMNS, ROWS, { screen: { width, colored: false }, ...options });

describe('tableLines', () => {
  it('aligns columns without a limit of width by default', () =>
    assert.deepEqual(tableLines(COLUMNS, ROWS), [
      'NAME                                          AGE   WHY',
      'node-1                                        5m    the shim is not in the usual directories',
      'ip-10-0-12-34.eu-central-1.compute.internal   5m    -',
    ]));

  it('truncates prose, then drops columns, and never truncates names', () => {
    assert.equal(lines(80)[1], 'node-1                                        5m    the shim is not in the…');
    assert.equal(lines(60)[0], 'NAME                                          AGE');
    assert.equal(lines(45)[0], 'NAME');
    assert.equal(lines(20)[2], ROWS[1]?.name);
  });

  it('puts the longest names last if they do not fit, so that the other columns stay aligned', () => {
    const columns: readonly Column<Row>[] = [
      { head: 'NAME', cell: ({ name }) => name },
      { head: 'AGE', cell: ({ age }) => age },
    ];
    const screen = { width: 40, colored: false };
    assert.deepEqual(tableLines(columns, ROWS, { screen }), [
      'AGE   NAME',
      '5m    node-1',
      `5m    ${ROWS[1]?.name}`,
    ]);
  });

  it('never exceeds the width', () => {
    for (let width = 43; width <= 120; width++)
      assert.ok(!lines(width, { wide: true }).some((line) => line.length > width), `${width}`);
  });

  it('adds wide columns and omits headers on request', () => {
    assert.match(lines(200, { wide: true })[0] ?? '', /MORE$/);
    assert.equal(lines(200, { headers: false }).length, 2);
  });

  it('colours cells on a screen with colours', () => {
    const screen = { width: 200, colored: true };
    assert.ok(tableLines(COLUMNS, ROWS, { screen, wide: true })[1]?.endsWith('\u001b[31mmore\u001b[39m'));
  });
});

describe('markedLines', () => {
  it('wraps a text behind its mark and aligns further lines', () =>
    assert.deepEqual(
      markedLines('fail', 'no shim is there', { width: 16, colored: false, indent: ' ', label: 'a: ' }),
      [' ✗ a: no shim is', '      there'],
    ));
});

describe('truncation', () => {
  it('truncates prose between words', () => {
    assert.equal(truncateText('no shim is there', 12), 'no shim is…');
    assert.equal(truncateText('fits', 4), 'fits');
  });
});
