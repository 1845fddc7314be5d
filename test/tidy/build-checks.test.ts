/** The page on build checks and the checks agree: every rule has a section, and its examples do what they say. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CHECK_NAMES, type CheckName, checkUrl } from '../../src/frontend/dockerfile/check-rules.ts';
import { convertCase, type DockerfileCase } from '../support/dockerfile-request.ts';

const PATH = 'docs/reference/build-checks.md';
const page = readFileSync(join(import.meta.dirname, '../..', PATH), 'utf8');
const [, rules = ''] = page.split('# The rules\n');
const sections = new Map(
  rules.split(/^## /m).flatMap((part) => {
    const [name = '', ...lines] = part.split('\n');
    return name.trim() === '' ? [] : [[name, lines.join('\n')] as const];
  }),
);

/** What a section says in words about where its examples are built. */
const SURROUNDINGS: Partial<Record<CheckName, DockerfileCase>> = {
  InvalidBaseImagePlatform: { bases: { 'old-tools': { os: 'linux', architecture: '386' } } },
  InvalidDefaultArgInFrom: { buildArgs: { VERSION: '3.22' } },
};

test('every rule has a section, in the order of the table, and there are no others', () => {
  expect([...sections.keys()]).toEqual(CHECK_NAMES);
});

test('what a violation links to is the section', () => {
  for (const name of CHECK_NAMES) {
    expect(checkUrl(name)).toBe(`${PATH}#${name.toLowerCase()}`);
  }
});

describe.each(CHECK_NAMES)('%s', (rule) => {
  const section = sections.get(rule) ?? '';
  const block = (before: string, language: string) =>
    section.match(new RegExp(`^${before}:\\n\\n\`\`\`${language}\\n([\\s\\S]*?)\`\`\`$`, 'm'))?.[1];
  const found = async (text: string | undefined) => {
    const ignoreFile = block('With this `.dockerignore`', 'dockerignore')?.split('\n') ?? [];
    const { findings } = await convertCase(text ?? '', { ...SURROUNDINGS[rule], ignoreFile });
    return findings.map((finding) => finding.rule);
  };

  test('the bad example raises it, and nothing else', async () => {
    expect(await found(block('Raises it', 'dockerfile'))).toEqual([rule]);
  });

  test('the good example raises nothing', async () => {
    expect(await found(block('Does not', 'dockerfile'))).toEqual([]);
  });
});

test('the example of the options builds', async () => {
  const example = page.match(/```dockerfile\n(# check=skip=[\s\S]*?)```/)?.[1] ?? '';
  expect((await convertCase(example)).findings).toEqual([]);
});
