import { expect, test } from 'vitest';
import {
  type ContextInput,
  contextInputName,
  usesOnlyGivenFiles,
} from '../../../../src/frontend/dockerfile/context-input.ts';
import { FilePatternMatcher } from '../../../../src/patterns/file-pattern-matcher.ts';

const INPUT: ContextInput = {
  kind: 'context',
  name: 'context',
  directory: '/app',
  ignore: { name: '/app/.dockerignore', text: '*.md' },
  selections: [{ source: 'a', select: { wildcards: true, parents: false, exclude: [] } }],
};

const part = {
  kind: 'directory',
  hostPath: '/h',
  at: '/x',
  filter: { kind: 'none' },
  recursive: true,
} as const;

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
    {
      ...INPUT,
      ignore: { name: 'option', filter: { kind: 'patterns', matcher: new FilePatternMatcher('*.md') } },
    },
    { ...INPUT, ignore: { name: 'option', filter: { kind: 'predicate', ignores: () => true } } },
    { ...INPUT, ignore: { name: 'option', filter: { kind: 'predicate', ignores: () => false } } },
    { ...INPUT, parts: [] },
    { ...INPUT, parts: [part] },
    { ...INPUT, parts: [{ ...part, at: '/y' }] },
    { ...INPUT, parts: [{ ...part, hostPath: '/h2' }] },
    { ...INPUT, parts: [{ ...part, recursive: false }] },
    { ...INPUT, parts: [{ ...part, filter: { kind: 'patterns', matcher: FilePatternMatcher.NOTHING } }] },
    { ...INPUT, files: { '/x': '/h' } },
    { ...INPUT, files: { '/x': '/i' } },
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

test('whether only given files are used', () => {
  const files = { '/a/x.txt': '/h' };
  const only = (...sources: string[]) =>
    usesOnlyGivenFiles({ ...INPUT, files, selections: sources.map((source) => ({ source })) });
  expect(only('a/x.txt', '/a/./x.txt')).toBe(true);
  expect(only('a/x.txt', 'b')).toBe(false);
  expect(only('a')).toBe(false);
  expect(only('a/*.txt')).toBe(false);
  expect(usesOnlyGivenFiles(INPUT)).toBe(false);
});
