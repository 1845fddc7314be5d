import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../src/cli/command-table.ts';
import { completionScript, SHELLS } from '../../../src/cli/completions.ts';

let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tsbuild-completion-'));
  for (const shell of SHELLS) {
    writeFileSync(join(directory, `script.${shell}`), await completionScript(shell, COMMANDS));
  }
  writeFileSync(join(directory, 'image.ts'), '');
  writeFileSync(join(directory, 'with space.ts'), '');
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What bash itself offers after these words; bash breaks words at `=`, and so do we here. */
async function offered(...words: string[]): Promise<string[]> {
  const typed = words.flatMap((word) => word.split(/(=)/).filter((part) => part !== '' || word === ''));
  const script = `
    source ./script.bash
    spec=$(complete -p tsbuild); [[ $spec == *'-F _tsbuild '* ]] || exit 9
    COMP_WORDS=(tsbuild "$@"); COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
    _tsbuild 2>/dev/null
    for word in "\${COMPREPLY[@]}"; do printf '%s\\n' "$word"; done`;
  const { stdout } = await promisify(execFile)('bash', ['--norc', '-c', script, 'bash', ...typed], {
    cwd: directory,
  });
  return stdout.split('\n').filter(Boolean);
}

describe('completion for bash', () => {
  it('offers commands, and the commands of a group', async () => {
    expect(await offered('')).toEqual(expect.arrayContaining(['build', 'image', 'help', '--version']));
    expect(await offered('pu')).toEqual(['push', 'pull']);
    expect(await offered('image', '')).toEqual(['list', 'inspect', 'logs', 'names', 'rm']);
    expect(await offered('help', 'doc')).toEqual(['doctor']);
  });

  it('offers flags of the command, with = where a value follows', async () => {
    expect(await offered('build', '--pro')).toEqual(['--progress=']);
    expect(await offered('build', '--pus')).toEqual(['--push']);
    expect(await offered('image', 'list', '--')).toEqual(['--json', '--quiet', '--help']);
    expect(await offered('tag', '--pro')).toEqual([]);
  });

  it('offers values, after a space and after =', async () => {
    expect(await offered('build', '--progress', 'p')).toEqual(['plain']);
    expect(await offered('build', '--progress=p')).toEqual(['plain']);
    expect(await offered('build', '--host-ca', '')).toEqual(['auto', 'always', 'never']);
    expect(await offered('build', '-o', 'type=d')).toEqual(expect.any(Array));
    expect(await offered('completion', '')).toEqual(['bash', 'zsh', 'fish']);
  });

  it('offers files where a definition belongs, names with spaces whole', async () => {
    expect(await offered('build', 'im')).toEqual(['image.ts']);
    expect(await offered('build', 'with')).toEqual(['with space.ts']);
  });

  it('leaves alone what follows --', async () => {
    expect(await offered('run', 'x', '--', '--pro')).toEqual([]);
  });
});

describe('completion scripts', () => {
  it.each(SHELLS)('for %s parses', (shell) => {
    if (spawnSync(shell, ['--version']).error !== undefined) {
      return;
    }
    execFileSync(shell, ['-n', join(directory, `script.${shell}`)]);
  });

  it('for every shell names every flag', async () => {
    for (const shell of SHELLS) {
      const script = await completionScript(shell, COMMANDS);
      for (const entry of COMMANDS) {
        for (const option of Object.values((await entry.load()).options)) {
          expect(script).toContain(shell === 'fish' ? `-l ${option.long}` : `--${option.long}`);
        }
      }
    }
  });
});
