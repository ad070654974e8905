import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { causeOf, Dedupe } from '../../../agent/text/format.ts';
import { unproven } from '../reports.ts';

const error = (digit: string) =>
  `failed to start sandbox "${digit.repeat(64)}": failed to create containerd task: no such file`;

describe('Dedupe', () => {
  it('shows a long text once, also as part of another or with another sandbox id', () => {
    const dedupe = new Dedupe();
    assert.equal(dedupe.once(`it is not there; ${error('a')}`), `it is not there; ${error('a')}`);
    assert.equal(dedupe.once(error('a')), 'as said above');
    assert.equal(dedupe.once(error('b')), 'as said above');
    assert.equal(dedupe.once(`${error('b')} at all`), `${error('b')} at all`);
  });

  it('repeats short texts', () => {
    const dedupe = new Dedupe();
    for (const _ of [1, 2]) assert.equal(dedupe.once('no such file'), 'no such file');
  });

  it('covers texts that are shown in parts', () => {
    const dedupe = new Dedupe();
    dedupe.add(`it is not there; ${error('a')}`);
    assert.equal(dedupe.once(`it is not there; ${error('b')}`), 'as said above');
  });
});

describe('causeOf', () => {
  const proof = (digit: string) => ({ ...unproven('failed', 'ShimNotFound'), message: error(digit) });
  const verdict = (message: string) => ({ status: 'False', reason: 'ShimNotFound', message }) as const;

  it('omits the error of the proof, also with another sandbox id', () => {
    for (const digit of ['a', 'b'])
      assert.equal(causeOf(verdict(`no shim; ${error('a')}`), proof(digit)), 'no shim');
  });

  it('is the whole message where there is no other cause', () => {
    assert.equal(causeOf(verdict(error('a')), proof('a')), error('a'));
    assert.equal(causeOf(verdict('no shim'), proof('a')), 'no shim');
  });
});
