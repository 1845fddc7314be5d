// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is Python.
import { describe, expect, test } from 'vitest';
import { findPythonFunction } from '../../../../src/frontend/fluent/python-function-source.ts';

const MODULE = String.raw`#!/usr/bin/env python
"""A docstring: def run(): no
LIMIT = 0
"""
from __future__ import annotations
import os

LIMIT = 3
SIZES: list[str] = [
    "a",  # def run()
    'b',
]
UNUSED = 'def run():\n'
A = B = (1,
         2)
annotated: int
X = 1; Y = 2
with_continuation = \
    7
SHADOW == 3
text = f"{LIMIT!r:>{WIDTH}} {{UNUSED}}"

def helper():
    return UNUSED

class Run:
    def run(self):
        return "method"

if True:
    def run():
        return "not at the top"

@decorated("run", LIMIT)
# a comment between
@other
async def run(size, *, deep=B):
    """LIMIT2 in text"""

    value = {"k": f'{SIZES["x"]:{Y}} {os.path}'}
  # a comment that is not indented
    return (
value, r'\\', with_continuation, """
def nothing():
""")
    # trailing comment

WIDTH = 4
def after(): pass
`;

describe('a function of a Python module', () => {
  test('its statement, decorators included, and the assignments that it mentions', () => {
    const found = findPythonFunction(MODULE, 'run');
    expect(found?.source.split('\n')[0]).toBe('@decorated("run", LIMIT)');
    expect(found?.source.endsWith('""")')).toBe(true);
    expect(found?.source).toContain('def nothing():');
    expect(found?.line).toBe(MODULE.split('\n').indexOf('@decorated("run", LIMIT)') + 1);
    expect(found?.globals).toEqual({
      B: 'A = B = (1,\n         2)',
      LIMIT: 'LIMIT = 3',
      SIZES: 'SIZES: list[str] = [\n    "a",  # def run()\n    \'b\',\n]',
      Y: 'Y = 2',
      with_continuation: 'with_continuation = \\\n    7',
    });
  });

  test.each([
    ['nested', undefined],
    ['Run', undefined],
    ['nothing', undefined],
    ['after', 'def after(): pass'],
    ['helper', 'def helper():\n    return UNUSED'],
  ])('%s', (name, source) => {
    expect(findPythonFunction(MODULE, name)?.source).toBe(source);
  });

  test('the last definition counts', () => {
    expect(findPythonFunction('def f(): return 1\ndef f(): return 2\n', 'f')?.source).toBe(
      'def f(): return 2',
    );
  });

  test('line ends and blanks at them change nothing', () => {
    const text = 'A = 1\n\ndef f(x):\n    return [x,\n        A]\n';
    const other = `\uFEFF${text.replaceAll('\n', '  \r\n')}`;
    expect(findPythonFunction(other, 'f')).toEqual(findPythonFunction(text, 'f'));
  });

  test('strings that are not closed and brackets that are not opened do not take the rest along', () => {
    expect(findPythonFunction("A = 'open\n)\ndef f():\n  pass\n", 'f')?.source).toBe('def f():\n  pass');
  });

  test.each([
    ["def f():\n  return f'{a['b']}'\nX = 1", "def f():\n  return f'{a['b']}'"],
    ['def f():\n  return f\'{x:{"}"}}\'\nX = 1', 'def f():\n  return f\'{x:{"}"}}\''],
    ["def f():\n  return '''a\nb'''\nX = 1", "def f():\n  return '''a\nb'''"],
    ["def f():\n  return rb'\\''\nX = 1", "def f():\n  return rb'\\''"],
    ['def f[T](x: T) -> T: return x\nX = 1', 'def f[T](x: T) -> T: return x'],
    ['async  def\\\n  f(): pass\nX = 1', 'async  def\\\n  f(): pass'],
  ])('%j', (text, source) => {
    expect(findPythonFunction(text, 'f')?.source).toBe(source);
  });
});
