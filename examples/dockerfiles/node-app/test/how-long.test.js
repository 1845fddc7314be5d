import assert from 'node:assert/strict';
import { test } from 'node:test';
import isNumber from 'is-number';
import { describe } from '../how-long.js';

test('counts milliseconds', () => {
  assert.equal(describe('2h'), '2h is 7200000 ms');
  assert(isNumber(describe('3 days').split(' ').at(-2)));
});
