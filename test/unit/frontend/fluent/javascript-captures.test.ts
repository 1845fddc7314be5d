import { describe, expect, test } from 'vitest';
import { analyseFunction } from '../../../../src/frontend/fluent/javascript-captures.ts';

const captures = (text: string) => analyseFunction(text)?.captures;

describe('names that a function takes from around it', () => {
  test.each([
    ['function f(a, { b, c: [d = e] }, ...rest) { return [a, b, d, rest, arguments, f]; }', ['e']],
    [
      'async (a) => { const { x, ...y } = a; let z = w; class K extends L { m() { return K; } } return [x, y, z]; }',
      ['L', 'w'],
    ],
    ['() => { for (const i of list) { var v = i; } return v + i; }', ['i', 'list']],
    ['() => { try { go(); } catch ({ message }) { return message; } return message; }', ['go', 'message']],
    [
      '() => { { function inner() {} const once = 1; inner(once); } return [inner, once]; }',
      ['inner', 'once'],
    ],
    [
      '() => { outer: for (;;) { break outer; } return { key: 1, [computed]: 2, short }.key.other; }',
      ['computed', 'short'],
    ],
    ['function f() { return new.target ?? import.meta.url; }', []],
    ['() => typeof window === "undefined" ? process.env : window.x', ['window']],
    ['() => typeof window', []],
    ['(n) => { switch (n) { case 1: let s = 2; return s; } return s; }', ['s']],
    ['() => { const g = function named() { return named; }; return named; }', ['named']],
    ['(a = b, b) => `${a}${c}`', ['c']],
    [
      '() => { class A { static #p = q; static { var t = 1; t; } [k] = t; get v() { return this.#w; } #w; } return A; }',
      ['k', 'q', 't'],
    ],
    ['() => { [a.b, c] = d; ({ e: f = g } = h); }', ['a', 'c', 'd', 'f', 'g', 'h']],
    ['async () => { await using x = y(); for await (const z of x) z(); }', ['y']],
    ['foo(a) { return a + b; }', ['b']],
    ['async *foo(a) { yield b; }', ['b']],
    ['() => { __name(() => 1, "x"); return require("node:fs"); }', []],
  ])('%s', (text, expected) => {
    expect(captures(text)).toEqual(expected);
  });

  test('what is no function is told apart', () => {
    for (const text of [
      'class A {}',
      'function f() { [native code] }',
      '1',
      'get a() { return 1; }',
      'f(',
      '(a) => 1, 2',
    ]) {
      expect(analyseFunction(text)).toBeUndefined();
    }
    expect(analyseFunction('function* f() {}')?.generator).toBe(true);
    expect(analyseFunction('async *f() {}')?.generator).toBe(true);
    expect(analyseFunction('() => 1')?.generator).toBe(false);
  });

  test('the expression evaluates to the function', () => {
    for (const text of [
      '(a) => a + 1',
      'function f(a) { return a + 1; }',
      'm(a) { return a + 1; }',
      'async (a) => a + 1 // end',
    ]) {
      const expression = analyseFunction(text)?.expression ?? '';
      expect(typeof new Function(`return ${expression}`)()).toBe('function');
      expect(expression.slice(analyseFunction(text)?.prefixLength).startsWith(text)).toBe(true);
    }
  });
});
