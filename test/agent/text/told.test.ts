import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { causeOf, Told } from '../../../agent/text/told.ts';
import { unproven } from '../reports.ts';

const error = (digit: string) =>
  `failed to start sandbox "${digit.repeat(64)}": failed to create containerd task: no such file`;

describe('Told', () => {
  it('tells a long text once, also as a part of another and with another id', () => {
    const told = new Told();
    assert.equal(told.tell(`it is not there; ${error('a')}`), `it is not there; ${error('a')}`);
    assert.equal(told.tell(error('a')), 'as said above');
    assert.equal(told.tell(error('b')), 'as said above');
    assert.equal(told.tell(`${error('b')} at all`), `${error('b')} at all`);
  });

  it('repeats what is short', () => {
    const told = new Told();
    for (const _ of [1, 2]) assert.equal(told.tell('no such file'), 'no such file');
  });

  it('knows what was told in parts', () => {
    const told = new Told();
    told.note(`it is not there; ${error('a')}`);
    assert.equal(told.tell(`it is not there; ${error('b')}`), 'as said above');
  });
});

describe('causeOf', () => {
  const proof = (digit: string) => ({ ...unproven('failed', 'ShimNotFound'), message: error(digit) });
  const verdict = (message: string) => ({ status: 'False', reason: 'ShimNotFound', message }) as const;

  it('leaves out the words of the proof, also of one with another id', () => {
    for (const digit of ['a', 'b'])
      assert.equal(causeOf(verdict(`no shim; ${error('a')}`), proof(digit)), 'no shim');
  });

  it('is the whole message where nothing else is known', () => {
    assert.equal(causeOf(verdict(error('a')), proof('a')), error('a'));
    assert.equal(causeOf(verdict('no shim'), proof('a')), 'no shim');
  });
});
