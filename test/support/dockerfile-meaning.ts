/** A parsed Dockerfile as tests compare it. */
import type { Dockerfile } from '../../src/frontend/dockerfile/instruction.ts';

/** What printing must keep: all but places, the user's spelling and what the checks found. */
export function meaning({ directives, globalArgs, stages }: Dockerfile): unknown {
  return without({ directives, globalArgs, stages }, ['location', 'source']);
}

/** Few lines, so that a reader sees all of it: what is empty or usual is left out. */
export function goldenJson({ directives, globalArgs, stages, findings }: Dockerfile): string {
  const lines = [
    JSON.stringify(directives),
    ...globalArgs.map((instruction) => compact(instruction)),
    ...stages.flatMap(({ from, instructions }) => [compact(from), ...instructions.map(compact)]),
    ...findings.map((finding) => JSON.stringify(finding)),
  ];
  return `[\n${lines.map((line) => `  ${shortened(line)}`).join(',\n')}\n]\n`;
}

function compact({ kind, location, ...rest }: { kind: string; location: object }): string {
  return JSON.stringify({ kind, ...rest, lines: Object.values(location) }, (_, value) =>
    value === false || (Array.isArray(value) && value.length === 0) ? undefined : value,
  );
}

/** Long runs of one character are there for their length. */
function shortened(line: string): string {
  return line.replace(/(.)\1{99,}/g, (run, character) => `${character}*${run.length}`);
}

function without(value: unknown, names: readonly string[]): unknown {
  if (Array.isArray(value)) {
    return value.map((each) => without(each, names));
  }
  return typeof value === 'object' && value !== null
    ? Object.fromEntries(
        Object.entries(value)
          .filter(([name]) => !names.includes(name))
          .map(([name, each]) => [name, without(each, names)]),
      )
    : value;
}
