import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { generated } from '../../scripts/generate.ts';
import type { Command } from '../../src/cli/command.ts';
import { COMMANDS } from '../../src/cli/command-table.ts';
import { commandHelp, groupHelp, programHelp } from '../../src/cli/help.ts';

const commands: (readonly [name: string, command: Command])[] = [];
for (const entry of COMMANDS) {
  commands.push([entry.name, await entry.load()]);
}
const reference = readFileSync(new URL('../../docs/reference/cli.md', import.meta.url), 'utf8');

describe('the table of commands', () => {
  it.each(commands)('%s describes every flag', (name, command) => {
    const section = reference.split(/^### /m).find((text) => text.startsWith(`tsbuild ${name}\n`));
    const longs = new Set<string>(['help']);
    const shorts = new Set<string>(['h']);
    for (const option of Object.values(command.options)) {
      expect(option.long, 'lower case, words joined by dashes').toMatch(/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/);
      expect(longs.has(option.long), `--${option.long} is twice there`).toBe(false);
      longs.add(option.long);
      if (option.short !== undefined) {
        expect(option.short).toMatch(/^[a-zA-Z]$/);
        expect(shorts.has(option.short), `-${option.short} is twice there`).toBe(false);
        shorts.add(option.short);
      }
      expect(option.summary, `--${option.long}`).toMatch(/^[A-Z].*[^.]$/);
      expect(option.detail, `--${option.long}`).toMatch(/^[A-Z][\s\S]*\.$/);
      expect(section, `--${option.long} is not in docs/reference/cli.md`).toContain(`${option.long}`);
    }
  });

  it.each(commands)('%s has examples that run it, and a description', (name, command) => {
    expect(command.examples.length).toBeGreaterThan(0);
    for (const { command: text, purpose } of command.examples) {
      expect(text).toContain(`tsbuild ${name}`);
      expect(purpose).toMatch(/^[A-Z].*[^.]$/);
    }
    expect(command.detail).toMatch(/^[A-Z][\s\S]*\.$/);
  });

  it('fits 80 columns in every help text', async () => {
    const texts = [programHelp(COMMANDS), groupHelp('image', COMMANDS)];
    for (const entry of COMMANDS) {
      texts.push(commandHelp(entry, await entry.load()));
    }
    for (const line of texts.flatMap((text) => text.split('\n'))) {
      expect(line.length, line).toBeLessThanOrEqual(80);
    }
  });

  it('gives the same flag the same meaning everywhere', () => {
    const seen = new Map<string, string>();
    // `-q` of a list prints less; that of a build draws nothing. `--json`, `--pull` and `--network` say what they apply to.
    const local = new Set(['all', 'quiet', 'json', 'pull', 'platform', 'network']);
    for (const [, command] of commands) {
      for (const option of Object.values(command.options)) {
        if (!local.has(option.long)) {
          expect(option.detail).toBe(seen.get(option.long) ?? option.detail);
          seen.set(option.long, option.detail);
        }
      }
    }
  });
});

describe('generated documents', () => {
  it('are what the tables say (npm run generate)', async () => {
    for (const [path, text] of await generated()) {
      expect(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'), path).toBe(text);
    }
  });
});
