/** Build checks that need no variables and no base: how keywords and names are written. */
import type { CheckReport } from './check-report.ts';
import { CHECKS } from './check-rules.ts';
import type { Dockerfile, FromInstruction, StageInstruction } from './instruction.ts';

const RESERVED = ['scratch', 'context'];

export function checkSyntax(dockerfile: Dockerfile, report: CheckReport): void {
  for (const finding of dockerfile.findings) {
    report.add(finding);
  }
  const seen = new Set<string>();
  for (const { from } of dockerfile.stages) {
    checkFrom(from, seen, report);
  }
  checkCasing(dockerfile, report);
  for (const instruction of dockerfile.stages.flatMap((stage) => stage.instructions)) {
    if (instruction.kind === 'maintainer') {
      const { location, skipChecks } = instruction;
      report.add(
        { rule: 'MaintainerDeprecated', message: CHECKS.MaintainerDeprecated.message(), location },
        skipChecks,
      );
    }
  }
}

function checkFrom(from: FromInstruction, seen: Set<string>, report: CheckReport): void {
  const { stageName, keyword, asKeyword, location, skipChecks } = from;
  if (stageName === undefined) {
    return;
  }
  const lower = stageName.toLowerCase();
  if (stageName !== lower) {
    const message = CHECKS.StageNameCasing.message(stageName);
    report.add({ rule: 'StageNameCasing', message, location }, skipChecks);
  }
  if (asKeyword !== undefined && caseOf(keyword) !== undefined && caseOf(asKeyword) !== caseOf(keyword)) {
    const message = CHECKS.FromAsCasing.message(keyword, asKeyword);
    report.add({ rule: 'FromAsCasing', message, location }, skipChecks);
  }
  if (RESERVED.includes(lower)) {
    const message = CHECKS.ReservedStageName.message(lower);
    report.add({ rule: 'ReservedStageName', message, location }, skipChecks);
  }
  if (seen.has(lower)) {
    const message = CHECKS.DuplicateStageName.message(lower);
    report.add({ rule: 'DuplicateStageName', message, location }, skipChecks);
  }
  seen.add(lower);
}

/** Each keyword in the case that most keywords of the file have; upper case when neither is ahead. */
function checkCasing({ stages }: Dockerfile, report: CheckReport): void {
  const all: (FromInstruction | StageInstruction)[] = stages.flatMap(({ from, instructions }) => [
    from,
    ...instructions,
  ]);
  const count = (wanted: 'lower' | 'upper') => all.filter(({ keyword }) => caseOf(keyword) === wanted).length;
  const wanted = count('lower') > count('upper') ? 'lower' : 'upper';
  for (const { keyword, location, skipChecks } of all) {
    if (caseOf(keyword) !== wanted) {
      const message = CHECKS.ConsistentInstructionCasing.message(keyword, `${wanted} case`);
      report.add({ rule: 'ConsistentInstructionCasing', message, location }, skipChecks);
    }
  }
}

function caseOf(keyword: string): 'lower' | 'upper' | undefined {
  return keyword === keyword.toLowerCase()
    ? 'lower'
    : keyword === keyword.toUpperCase()
      ? 'upper'
      : undefined;
}
