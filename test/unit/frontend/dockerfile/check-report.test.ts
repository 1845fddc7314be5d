import { describe, expect, test } from 'vitest';
import { DefinitionError } from '../../../../src/errors.ts';
import { CheckReport, parseCheckOptions } from '../../../../src/frontend/dockerfile/check-report.ts';
import type { CheckName } from '../../../../src/frontend/dockerfile/check-rules.ts';
import type { Finding } from '../../../../src/frontend/dockerfile/instruction.ts';

const NONE = { skip: new Set(), error: false, experimental: new Set() };

describe('options', () => {
  test.each([
    ['', NONE],
    [' ; ', NONE],
    ['skip=A,B', { ...NONE, skip: new Set(['a', 'b']) }],
    [' skip = A , B,, ', { ...NONE, skip: new Set(['a', 'b']) }],
    ['skip=', NONE],
    ['skip=all', { ...NONE, skip: 'all' }],
    ['skip=A,ALL', { ...NONE, skip: 'all' }],
    ['skip=A;skip=B', { ...NONE, skip: new Set(['b']) }],
    ['error=true', { ...NONE, error: true }],
    ['error=T;', { ...NONE, error: true }],
    ['error=1', { ...NONE, error: true }],
    ['error=0', NONE],
    ['error=False', NONE],
    ['experimental=all;error=true;skip=A', { skip: new Set(['a']), error: true, experimental: 'all' }],
    ['experimental=A', { ...NONE, experimental: new Set(['a']) }],
    ['skip=A=B', { ...NONE, skip: new Set(['a=b']) }],
  ])('%j', (text, expected) => {
    expect(parseCheckOptions(text, 'Dockerfile')).toEqual(expected);
  });

  test.each([
    ['error=yes', "'error' is 'yes'; it can be true, false", /^write skip=/],
    ['error=', "'error' is ''; it can be true, false", /^write skip=/],
    ['error', "'error' is not of the form key=value", /^write skip=/],
    ['skip', "'skip' is not of the form key=value", /^write skip=/],
    ['skpi=all', "unknown key 'skpi'", /^did you mean 'skip'\?$/],
    ['SKIP=all', "unknown key 'SKIP'", /^write skip=/],
    ['experimenta=all', "unknown key 'experimenta'", /^did you mean 'experimental'\?$/],
    ['all', "'all' is not of the form key=value", /^write skip=/],
    ['skip=A;what', "'what' is not of the form key=value", /^write skip=/],
  ])('%j is refused', (text, message, hint) => {
    let error: unknown;
    try {
      parseCheckOptions(text, 'sub/Dockerfile');
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(DefinitionError);
    expect(error).toMatchObject({
      code: 'E_DOCKERFILE_CHECK',
      file: 'sub/Dockerfile',
      message: `cannot read the check options: ${message}`,
      hint: expect.stringMatching(hint),
    });
  });
});

describe('a report', () => {
  const finding = (rule: CheckName, startLine: number | undefined, message = rule as string): Finding => ({
    rule,
    message,
    location: startLine === undefined ? undefined : { startLine, endLine: startLine },
  });
  const report = (options: string) => new CheckReport(parseCheckOptions(options, 'Dockerfile'));
  const rules = ({ findings }: CheckReport) =>
    findings.map(({ rule, location }) => `${rule} ${location?.startLine ?? '-'}`);

  test('is in the order of the file, and of what was found on one line', () => {
    const found = report('');
    found.add(finding('UndefinedVar', 9));
    found.add(finding('StageNameCasing', 2));
    found.add(finding('FromAsCasing', 2));
    found.add(finding('UndefinedVar', undefined));
    expect(rules(found)).toEqual(['UndefinedVar -', 'StageNameCasing 2', 'FromAsCasing 2', 'UndefinedVar 9']);
  });

  test('says the same of the same line once', () => {
    const found = report('');
    for (const [line, message] of [
      [1, 'a'],
      [1, 'a'],
      [1, 'b'],
      [2, 'a'],
    ] as const) {
      found.add(finding('UndefinedVar', line, message));
    }
    expect(found.findings).toHaveLength(3);
  });

  test.each([
    ['', ['all']],
    ['', ['All']],
    ['', ['StageNameCasing', 'undefinedvar']],
    ['skip=undefinedVAR', []],
    ['skip=all', []],
  ])('%j and %j above the instruction switch a rule off', (options, above) => {
    const found = report(options);
    found.add(finding('UndefinedVar', 1), above);
    expect(found.findings).toEqual([]);
  });

  test.each([
    ['', [], false],
    ['experimental=all', [], true],
    ['experimental=invaliddefinitiondescription', [], true],
    ['experimental=UndefinedVar', [], false],
    // All is all of the usual ones.
    ['experimental=all;skip=all', [], true],
    ['experimental=all;skip=InvalidDefinitionDescription', [], false],
    ['experimental=all', ['all'], false],
    ['experimental=all', ['InvalidDefinitionDescription'], false],
  ])('an experimental rule with %j and %j above the instruction: %j', (options, above, shown) => {
    const found = report(options);
    found.add(finding('InvalidDefinitionDescription', 1), above);
    expect(found.findings.length > 0).toBe(shown);
  });

  test('fails when the user wants it to and something is left', () => {
    const mild = report('');
    mild.add(finding('UndefinedVar', 1));
    expect(mild.failure).toBeUndefined();

    const strict = report('error=true;skip=FromAsCasing');
    expect(strict.failure).toBeUndefined();
    strict.add(finding('FromAsCasing', 1));
    strict.add(finding('StageNameCasing', 1), ['StageNameCasing']);
    expect(strict.failure).toBeUndefined();
    strict.add(finding('UndefinedVar', 3));
    strict.add(finding('StageNameCasing', 2));
    strict.add(finding('UndefinedVar', 4));
    expect(strict.failure).toMatchObject({
      code: 'E_DOCKERFILE_CHECK',
      message: 'the Dockerfile violates build checks: StageNameCasing, UndefinedVar',
    });
  });
});
