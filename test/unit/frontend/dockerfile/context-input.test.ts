import { expect, test } from 'vitest';
import { type ContextInput, contextInputName } from '../../../../src/frontend/dockerfile/context-input.ts';

const INPUT: ContextInput = {
  kind: 'context',
  name: 'context',
  directory: '/app',
  ignore: { name: '/app/.dockerignore', text: '*.md' },
  selections: [{ source: 'a', select: { wildcards: true, parents: false, exclude: [] } }],
};

test('equal declarations share a name', () => {
  expect(contextInputName(structuredClone(INPUT))).toBe(contextInputName(INPUT));
});

test('different ones do not', () => {
  const others: ContextInput[] = [
    { ...INPUT, name: 'lib' },
    { ...INPUT, directory: '/lib' },
    { ...INPUT, ignore: undefined },
    { ...INPUT, ignore: { name: '/app/.dockerignore', text: '' } },
    { ...INPUT, ignore: { name: '/app/Dockerfile.dockerignore', text: '*.md' } },
    { ...INPUT, selections: [] },
    { ...INPUT, selections: [{ source: 'a' }] },
    { ...INPUT, selections: [{ source: 'b', select: { wildcards: true, parents: false, exclude: [] } }] },
    { ...INPUT, selections: [{ source: 'a', select: { wildcards: false, parents: false, exclude: [] } }] },
    { ...INPUT, selections: [{ source: 'a', select: { wildcards: true, parents: true, exclude: [] } }] },
    { ...INPUT, selections: [{ source: 'a', select: { wildcards: true, parents: false, exclude: ['x'] } }] },
    { ...INPUT, selections: [...INPUT.selections, ...INPUT.selections] },
  ];
  expect(new Set([INPUT, ...others].map(contextInputName)).size).toBe(others.length + 1);
});
