// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the builder expands them, not JavaScript.
import { describe, expect, test } from 'vitest';
import { DefinitionError } from '../../../../src/errors.ts';
import { expandWord, expandWords } from '../../../../src/frontend/dockerfile/shell-words.ts';

const environment = new Map([
  ['home', '/home'],
  ['empty', ''],
  ['list', 'a b  c'],
  ['path', '/usr/local/lib/libx.tar.gz'],
  ['stars', 'a*b*c'],
  ['한국어', 'korean'],
  ['quote', '\'"$home'],
]);

const text = (word: string, options = {}) => expandWord(word, environment, options).text;
const failure = (action: () => unknown): DefinitionError => {
  try {
    action();
  } catch (error) {
    if (error instanceof DefinitionError) {
      return error;
    }
    throw error;
  }
  throw new Error('no error');
};

describe('what a word becomes', () => {
  test.each([
    // Variables.
    ['$home', '/home'],
    ['a$home.b', 'a/home.b'],
    ['${home}x', '/homex'],
    ['$homex', ''],
    ['$한국어', 'korean'],
    ['${unset}', ''],
    ['$list', 'a b  c'],
    ['$quote', '\'"$home'],
    // What stays, and what a shell would set.
    ['$.', '$.'],
    ['a$', 'a$'],
    ['$/x', '$/x'],
    ['$1$$$@$*$#$?$-$!$0x', 'x'],
    ['$12ab', 'ab'],
    ['${1}${@}${#}${-}${?}', ''],
    ['${1:-a}${#:-b}${$:-c}', 'abc'],
    // Defaults and alternatives.
    ['${home-x}${empty-x}${unset-x}', '/homex'],
    ['${home:-x}${empty:-x}${unset:-x}', '/homexx'],
    ['${home+x}${empty+x}${unset+x}', 'xx'],
    ['${home:+x}${empty:+x}${unset:+x}', 'x'],
    ['${home?x}${empty?x}${home:?}', '/home/home'],
    ['${unset:-}', ''],
    ['${unset:-a b}', 'a b'],
    // Words in words.
    ['${unset:-$home}', '/home'],
    ['${unset:-${unset:-${home}}}', '/home'],
    ['${home:+${unset}}', ''],
    ['${home:+a{b}c', 'a{bc'],
    ['${unset:-"}"}', '}'],
    ["${unset:-'$home'}", '$home'],
    ['${unset:-\\}}', '}'],
    ['${unset:-\\$home:}x', '$home:x'],
    // Prefixes and suffixes.
    ['${path#/usr}', '/local/lib/libx.tar.gz'],
    ['${path#usr}', '/usr/local/lib/libx.tar.gz'],
    ['${path#*/}', 'usr/local/lib/libx.tar.gz'],
    ['${path##*/}', 'libx.tar.gz'],
    ['${path%.*}', '/usr/local/lib/libx.tar'],
    ['${path%%.*}', '/usr/local/lib/libx'],
    ['${path%/*}', '/usr/local/lib'],
    ['${path#?usr}', '/local/lib/libx.tar.gz'],
    ['${path#*}${path%}', '/usr/local/lib/libx.tar.gz/usr/local/lib/libx.tar.gz'],
    ['${path##*}', ''],
    ['${path##*l*l*l}', 'ibx.tar.gz'],
    ['${path#*l*l*l}', 'ib/libx.tar.gz'],
    ['${path%%l*l*l*}', '/usr/'],
    ['${stars#a\\*}', 'b*c'],
    ['${stars##*\\*}', 'c'],
    ['${stars%\\**}', 'a*b'],
    ['${stars#[a]}', 'a*b*c'],
    ['${unset#x}', ''],
    ['${home#$home}', ''],
    // Replacements.
    ['${path/lib/LIB}', '/usr/local/LIB/libx.tar.gz'],
    ['${path//lib/LIB}', '/usr/local/LIB/LIBx.tar.gz'],
    ['${path//lib/}', '/usr/local//x.tar.gz'],
    ['${path/l*l/-}', '/usr/-ibx.tar.gz'],
    ['${path//?/x}', 'x'.repeat(26)],
    ['${path//\\//:}', ':usr:local:lib:libx.tar.gz'],
    ['${path/\\/usr\\/local/$home}', '/home/lib/libx.tar.gz'],
    ['${stars//\\*/$quote}', 'a\'"$homeb\'"$homec'],
    ['${path//*/x}', 'x'],
    ['${home//zzz/x}', '/home'],
    // A replacement keeps its escapes, and an empty pattern is everywhere, as in the reference implementation.
    ['${home/h/\\/}', '/\\/ome'],
    ['${home/$empty/x}', 'x/home'],
    ['${list//$empty/-}', '-a- -b- - -c-'],
    // Quotes.
    ['"$home"', '/home'],
    ["'$home'", '$home'],
    ['a"b\'c"d', "ab'cd"],
    ["a'b\"c'd", 'ab"cd'],
    ['""', ''],
    ['"${unset:-"x y"}"', 'x y'],
    // Escapes.
    ['\\$home', '$home'],
    ['\\\\$home', '\\/home'],
    ['a\\bc', 'abc'],
    ['a\\', 'a'],
    ['"a\\b\\"\\$home\\\\"', 'a\\b"$home\\'],
    ["'a\\b'", 'a\\b'],
    ['\\"\\\'', '"\''],
    // Text of all planes.
    ['안녕$home☃🙂', '안녕/home☃🙂'],
    ['${unset:-🙂}', '🙂'],
    // Heredoc operators mean nothing.
    ['a << b', 'a << b'],
  ])('%s', (word, expected) => {
    expect(text(word)).toBe(expected);
  });

  test('a character outside the first plane is one for ?', () => {
    const values = new Map([['v', '🙂🙂x']]);
    expect(expandWord('${v#?}', values).text).toBe('🙂x');
    expect(expandWord('${v%?}', values).text).toBe('🙂🙂');
    expect(expandWord('${v//?/-}', values).text).toBe('---');
  });

  test('the backtick as escape', () => {
    expect(text('`$home \\$home', { escape: '`' })).toBe('$home \\/home');
    expect(text('"`"`a``"', { escape: '`' })).toBe('"`a`');
    expect(text('a`', { escape: '`' })).toBe('a');
  });

  test('in the body of a heredoc quotes are text', () => {
    expect(text('it\'s "$home" \'$home\' \\$home ${unset:-"x"}\n', { heredoc: true })).toBe(
      'it\'s "/home" \'/home\' $home "x"\n',
    );
  });

  test('for display quotes and what is not set stay', () => {
    const options = { keepQuotes: true, keepUnset: true };
    expect(text('echo "$home" \'$home\' $unset ${unset:-x} ${unset%y} ${unset/a/b}', options)).toBe(
      'echo "/home" \'$home\' $unset ${unset:-x} ${unset%y} ${unset/a/b}',
    );
  });

  test('escapes that are kept mean what they mean', () => {
    expect(text('a\\ $home\\$home "\\""', { keepEscapes: true })).toBe('a\\ /home\\$home \\"');
  });
});

describe('what is not set', () => {
  test('is reported once, in order', () => {
    expect(expandWord('$b ${a} $home $b ${c:-$d}', environment).unmatched).toEqual(['b', 'a', 'd', 'c']);
    expect(expandWord('$empty${home:+x}', environment).unmatched).toEqual([]);
    expect(expandWords('$b $home', environment).unmatched).toEqual(['b']);
  });
});

describe('words', () => {
  test.each([
    ['a b\tc', ['a', 'b', 'c']],
    ['$list', ['a', 'b', 'c']],
    ['x$list', ['xa', 'b', 'c']],
    ['"$list"', ['a b  c']],
    ["'a b'c d", ['a bc', 'd']],
    ['a\\ b c', ['a b', 'c']],
    ['$unset "" a', ['a']],
    ['  ', []],
    ['${unset:-x y}z', ['x', 'yz']],
    ['a\u00a0b', ['a', 'b']],
    ['a<< b', ['a<<', 'b']],
    // The reference implementation loses what stands before a modifier.
    ['80 1${unset:-2}3 4', ['80', '123', '4']],
  ])('%s', (word, expected) => {
    expect(expandWords(word, environment).words).toEqual(expected);
  });
});

describe('mistakes', () => {
  test.each([
    ['${', "'}' is missing after '${'"],
    ['${home', "'}' is missing after '${home'"],
    ['${}', "a name is expected after '${' in '${}'"],
    ['${{a}', "a name is expected after '${' in '${{a}'"],
    ['${:-a}', "a name is expected after '${' in '${:-a}'"],
    ['${.}', "a name is expected after '${' in '${.}'"],
    ['${+a}', "a name is expected after '${' in '${+a}'"],
    ['${home:=x}', "':=' is no modifier in '${home:=x}'"],
    ['${home=x}', "'=' is no modifier in '${home=x}'"],
    ['${home:x}', "':x' is no modifier in '${home:x}'"],
    ['${home:#x}', "':#' is no modifier in '${home:#x}'"],
    ['${home:', "':' is no modifier in '${home:'"],
    ['${home!}', "'!' is no modifier in '${home!}'"],
    ['${home:-a', "it ends where '}' is expected"],
    ['${home/a', "it ends where '/' is expected"],
    ['${home/a}', "it ends where '/' is expected"],
    ['${home//a/b', "it ends where '}' is expected"],
    ['${unset?}', 'unset is not set'],
    ['${empty:?}', 'empty is empty'],
    ['${unset:?say why}', 'unset: say why'],
    ['${empty:?$home}', 'empty: /home'],
    ['${home#\\a}', "the pattern '\\a' has a backslash before 'a'"],
    ["it's", "a ' has no partner"],
    ['a"b', 'a " has no partner'],
    ['"\\"', 'a " has no partner'],
    ['"${unset:-"}"', "it ends where '}' is expected"],
    ['"${unset:-"}', 'a " has no partner'],
  ])('%s', (word, why) => {
    const error = failure(() => text(word));
    expect(error.message).toBe(`cannot expand '${word}': ${why}`);
    expect(error.code).toBe('E_DOCKERFILE_VARIABLE');
  });

  test('a value that is given is not asked for', () => {
    expect(text('${home:?x}')).toBe('/home');
    // But the default of what is set is looked at, as a shell that parses it all.
    expect(failure(() => text('${home:-${unset:?x}}')).message).toContain('unset: x');
  });

  test('nesting has an end', () => {
    const nested = (depth: number) => '${u:-'.repeat(depth) + '}'.repeat(depth);
    expect(text(nested(100))).toBe('');
    expect(failure(() => text(nested(101))).message).toContain('nested more than 100 deep');
    expect(failure(() => text(nested(100_000))).message).toContain('nested more than 100 deep');
  });

  test('a word does not become larger than memory', () => {
    const values = new Map([['v', 'x'.repeat(1024 * 1024)]]);
    expect(expandWord('$v'.repeat(8), values).text).toHaveLength(8 * 1024 * 1024);
    expect(failure(() => expandWord('$v'.repeat(9), values)).message).toContain('becomes longer than');
    expect(failure(() => expandWord('${v//x/$v}', values)).message).toContain('becomes longer than');
  });
});
