import { expect, test } from 'vitest';
import { maskSecrets, SecretMask } from '../../../src/secret/mask.ts';

/** Every way of cutting the text in two must give the same. */
function masked(text: string, secrets: readonly string[]): string {
  const whole = maskSecrets(text, secrets);
  for (let cut = 0; cut <= text.length; cut += 1) {
    const mask = new SecretMask(secrets);
    expect(mask.push(text.slice(0, cut)) + mask.push(text.slice(cut)) + mask.end()).toBe(whole);
  }
  return whole;
}

test.each([
  ['nothing', 'plain', [], 'plain'],
  ['a value', 'a secret b', ['secret'], 'a *** b'],
  ['repeated', 'secretsecret', ['secret'], '******'],
  ['its beginning only', 'a secr', ['secret'], 'a secr'],
  ['shorter than four', 'abc', ['abc'], 'abc'],
  ['one that begins another', 'password123 password', ['password', 'password123'], '*** ***'],
  ['one that begins another, which does not follow', 'password12', ['password', 'password123'], '***12'],
  ['one within another', 'xpasswordx', ['password', 'xpasswordx'], '***'],
  ['with a line feed that is cut', 'token!', ['token\n'], '***!'],
  ['line by line', '> QUJDREVG\n> R0hJSktM\n', ['BEGIN\nQUJDREVG\nR0hJSktM\nEND\n'], '> ***\n> ***\n'],
  ['as a whole', 'BEGIN\nQUJDREVG\nEND', ['BEGIN\nQUJDREVG\nEND\n'], '***'],
  ['short lines are no secret', '{ } BEGIN', ['{\nBEGIN\n}'], '{ } BEGIN'],
])('%s', (_what, text, secrets, expected) => {
  expect(masked(text, secrets)).toBe(expected);
});

test('characters of several bytes, cut within', () => {
  const bytes = Buffer.from('a geheimnüß b').toString('latin1');
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const mask = new SecretMask(['geheimnüß']);
    expect(mask.push(bytes.slice(0, cut)) + mask.push(bytes.slice(cut)) + mask.end()).toBe('a *** b');
  }
});
