import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { command } from '../../../src/cli/command.ts';
import { COMMANDS } from '../../../src/cli/command-table.ts';
import { choice, flag, list, value, wholeNumber } from '../../../src/cli/option.ts';
import { chooseCommand, parseWords } from '../../../src/cli/parse.ts';
import { UsageError } from '../../../src/errors.ts';

const text = { summary: 'S', detail: 'D.' };
const sample = command({
  operands: [{ name: 'FILE', summary: 'A file', required: true, completion: 'file' }],
  rest: { name: 'COMMAND', summary: 'What to run' },
  options: {
    tag: list({ long: 'tag', short: 't', valueName: 'NAME', parse: String, ...text }),
    quiet: flag({ long: 'quiet', short: 'q', ...text }),
    cache: flag({ long: 'cache', negatable: true, ...text }),
    jobs: value({ long: 'jobs', short: 'j', valueName: 'N', parse: wholeNumber(1), ...text }),
    kind: choice({ long: 'kind', valueName: 'KIND', words: ['plain', 'json'], ...text }),
  },
  foreignFlags: { load: 'leave it out' },
  detail: 'D.',
  examples: [],
  run: async () => 0,
});

function parse(...words: string[]) {
  const parsed = parseWords('sample', sample, words);
  if (parsed === 'help') {
    throw new Error('help was not asked for');
  }
  return parsed;
}

function refused(...words: string[]): UsageError {
  try {
    parse(...words);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return error as UsageError;
  }
  throw new Error(`${words.join(' ')} was accepted`);
}

describe('parseWords', () => {
  it('takes every spelling of a value', () => {
    const { options, operands } = parse('-t', 'a', '-tb', '-t=c', '--tag', 'd', '--tag=e', 'file');
    expect(options.tag).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(operands).toEqual(['file']);
  });

  it('joins short flags, the last of which may take a value', () => {
    const { options } = parse('-qj', '3', 'file');
    expect(options).toMatchObject({ quiet: true, jobs: 3 });
  });

  it('knows --no-NAME and --name=false where they make sense', () => {
    expect(parse('--cache', 'f').options.cache).toBe(true);
    expect(parse('--cache', '--no-cache', 'f').options.cache).toBe(false);
    expect(parse('--quiet=false', 'f').options.quiet).toBe(false);
    expect(refused('--no-quiet', 'f').code).toBe('E_USAGE');
  });

  it('lets the last value win', () => {
    expect(parse('-j1', '-j2', 'f').options.jobs).toBe(2);
  });

  it('keeps what follows -- apart', () => {
    expect(parse('f', '--', 'ls', '-l', '--help').rest).toEqual(['ls', '-l', '--help']);
    expect(parse('f').rest).toBeUndefined();
  });

  it('takes - as a word, and an empty or odd value after =', () => {
    expect(parse('-').operands).toEqual(['-']);
    expect(parse('--tag', '-', '--tag=', '--tag=--x', 'f').options.tag).toEqual(['-', '', '--x']);
  });

  it('finds --help among other flags, but not after --', () => {
    expect(parseWords('sample', sample, ['--jobs', '2', '-h'])).toBe('help');
    expect(parseWords('sample', sample, ['f', '--', '--help'])).not.toBe('help');
  });

  it.each([
    [['--tga', 'x', 'f'], "did you mean '--tag'?"],
    [['--kind=plian', 'f'], "did you mean 'plain'?"],
    [['--load', 'f'], 'leave it out'],
    [['--load=true', 'f'], 'leave it out'],
    [['--zzzzzz', 'f'], "see 'tsbuild sample --help'"],
    [['-x', 'f'], "see 'tsbuild sample --help'"],
    [['--tag', '--quiet', 'f'], 'write --tag=NAME'],
    [['f', '-t'], 'write -t NAME'],
    [['-j', '0', 'f'], "see 'tsbuild sample --help'"],
    [['--quiet=maybe', 'f'], "see 'tsbuild sample --help'"],
    [[], "see 'tsbuild sample --help'"],
    [['f', 'g'], "a command goes after '--'"],
    [['f', '--'], "see 'tsbuild sample --help'"],
  ])('refuses %j with a way out', (words, hint) => {
    expect(refused(...words)).toMatchObject({ code: 'E_USAGE', hint, exitStatus: 2 });
  });

  it('refuses with a UsageError or not at all, whatever is typed', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (words) => {
        try {
          parseWords('sample', sample, words);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }),
    );
  });
});

describe('chooseCommand', () => {
  it('finds commands and commands of groups', () => {
    expect(chooseCommand(['build', 'x'], COMMANDS)).toMatchObject({ entry: { name: 'build' }, words: ['x'] });
    expect(chooseCommand(['image', 'rm', 'x'], COMMANDS)).toMatchObject({
      entry: { name: 'image rm' },
      words: ['x'],
    });
    expect(chooseCommand(['image'], COMMANDS)).toEqual({ kind: 'help', names: ['image'] });
    expect(chooseCommand([], COMMANDS)).toEqual({ kind: 'help', names: [] });
  });

  it.each([
    [['biuld'], "did you mean 'build'?"],
    [['image', 'ls'], "did you mean 'image list'?"],
    [['image', 'lis'], "did you mean 'image list'?"],
    [['frobnicate'], "see 'tsbuild --help'"],
    [['--tag', 'x', 'build'], "see 'tsbuild --help'"],
  ])('refuses %j', (words, hint) => {
    expect(() => chooseCommand(words, COMMANDS)).toThrow(expect.objectContaining({ code: 'E_USAGE', hint }));
  });
});
