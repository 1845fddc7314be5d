/**
 * The typed form → text that parses to the same typed form, apart from places and from what the checks found.
 * Flags come in one order, continuations are joined, comments are only those that mean something.
 */
import { parseHeredocWord } from './heredoc.ts';
import type {
  ArgInstruction,
  CommandLine,
  CopyParts,
  Directives,
  Dockerfile,
  FromInstruction,
  Heredoc,
  KeyValue,
  StageInstruction,
} from './instruction.ts';
import { isSpace } from './white-space.ts';

/** @returns The text of a whole file. */
export function printDockerfile(dockerfile: Dockerfile): string {
  const { directives, globalArgs, stages } = dockerfile;
  const instructions = [...globalArgs, ...stages.flatMap((stage) => [stage.from, ...stage.instructions])];
  return [
    ...directiveLines(directives),
    // Ends the directives, so that no comment below is taken for one.
    '',
    ...instructions.flatMap((instruction) => printInstruction(instruction, directives.escape)),
    '',
  ].join('\n');
}

function directiveLines({ syntax, escape: escapeCharacter, check }: Directives): string[] {
  return [
    ...(syntax === undefined ? [] : [`# syntax=${syntax}`]),
    ...(escapeCharacter === '\\' ? [] : [`# escape=${escapeCharacter}`]),
    ...(check === undefined ? [] : [`# check=${check}`]),
  ];
}

/** @returns Its lines, bodies of heredocs included. */
export function printInstruction(
  instruction: FromInstruction | StageInstruction,
  escapeCharacter: string,
): string[] {
  const [flags, rest] = parts(instruction);
  const words = [
    instruction.keyword,
    ...flags.map((flag) => quotedFlag(flag, escapeCharacter)),
    // What follows would be taken for a flag.
    ...(rest.startsWith('--') ? ['--'] : []),
    rest,
  ];
  const bodies = 'heredocs' in instruction ? instruction.heredocs : [];
  return [
    ...comments(instruction),
    ...physicalLines(words.join(' '), escapeCharacter),
    ...bodies.map(({ content, name }) => `${content}${name}`),
  ];
}

/** The instruction on as many lines as the longest line takes; an ONBUILD has the bodies of its heredocs behind the first. */
function physicalLines(text: string, escapeCharacter: string): string[] {
  const [line = '', ...bodies] = text.split('\n');
  return [...broken(line, escapeCharacter), ...bodies];
}

/** In UTF-16 units, of which one is at most three bytes: well below what a line may have. */
const LINE_UNITS = 20_000;

function broken(line: string, escapeCharacter: string): string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > LINE_UNITS) {
    const end = breakBefore(rest, LINE_UNITS, escapeCharacter);
    if (end === 0) {
      break;
    }
    lines.push(`${rest.slice(0, end)}${escapeCharacter}`);
    rest = rest.slice(end);
  }
  return [...lines, `${rest}${guard(rest, escapeCharacter)}`];
}

/**
 * What keeps the end of a line as it is. White space at an end is trimmed, after it was seen whether an escape continues the
 * line there; an escape at an end is left out of words.
 */
function guard(line: string, escapeCharacter: string): string {
  if (isSpace(line.slice(-1))) {
    return `${escapeCharacter}\u00a0`;
  }
  return line.endsWith(escapeCharacter) && line.at(-2) !== escapeCharacter ? '\u00a0' : '';
}

/** The last place up to `end` where a continuation changes nothing; 0 if there is none. */
function breakBefore(line: string, end: number, escapeCharacter: string): number {
  for (let at = end; at > 0; at -= 1) {
    const [before = '', after = ''] = [line.charAt(at - 1), line.charAt(at)];
    const isWhole = !/[\udc00-\udfff]/.test(after);
    // What begins with # would be a comment, what is nothing but space an empty line.
    if (
      before !== escapeCharacter &&
      isWhole &&
      after !== '#' &&
      after !== escapeCharacter &&
      !isSpace(after)
    ) {
      return at;
    }
  }
  return 0;
}

function comments(instruction: FromInstruction | StageInstruction): string[] {
  const { skipChecks } = instruction;
  return [
    ...(skipChecks.length === 0 ? [] : [`# check=skip=${skipChecks.join(',')}`]),
    ...descriptions(instruction).map(([name, text]) => `# ${name} ${text}`),
  ];
}

function descriptions(instruction: FromInstruction | StageInstruction): [name: string, text: string][] {
  const described: readonly { readonly name: string; readonly description?: string }[] =
    instruction.kind === 'arg'
      ? instruction.args
      : instruction.kind === 'from'
        ? [{ ...instruction, name: instruction.stageName?.toLowerCase() ?? '' }]
        : [];
  return described.flatMap(({ name, description }) =>
    description === undefined ? [] : [[name, description] as [string, string]],
  );
}

/** Flags without quotes, and what follows them as it is written. */
function parts(instruction: FromInstruction | StageInstruction): [flags: string[], rest: string] {
  switch (instruction.kind) {
    case 'from': {
      const { base, platform, stageName, asKeyword } = instruction;
      const as = stageName === undefined ? '' : ` ${asKeyword ?? 'AS'} ${stageName}`;
      return [flag('platform', platform), `${base}${as}`];
    }
    case 'arg':
      return [[], args(instruction)];
    case 'run': {
      const { mounts, network, security, devices, command } = instruction;
      return [
        [
          ...flags('mount', mounts),
          ...flag('network', network),
          ...flag('security', security),
          ...flags('device', devices),
        ],
        commandLine(command),
      ];
    }
    case 'copy':
      return [
        [...flag('from', instruction.from), ...copyFlags(instruction), ...on('parents', instruction.parents)],
        paths(instruction),
      ];
    case 'add':
      return [
        [
          ...copyFlags(instruction),
          ...flag('checksum', instruction.checksum),
          ...flag('keep-git-dir', instruction.keepGitDir),
          ...flag('unpack', instruction.unpack),
        ],
        paths(instruction),
      ];
    case 'env':
    case 'label':
      return [[], instruction.pairs.map(keyValue).join(' ')];
    case 'maintainer':
      return [[], instruction.author];
    case 'workdir':
      return [[], instruction.path];
    case 'user':
      return [[], instruction.user];
    case 'cmd':
    case 'entrypoint':
      return [[], commandLine(instruction.command)];
    case 'healthcheck': {
      const { command, intervalNs, timeoutNs, startPeriodNs, startIntervalNs, retries } = instruction;
      return [
        [
          ...flag('interval', nanoseconds(intervalNs)),
          ...flag('timeout', nanoseconds(timeoutNs)),
          ...flag('start-period', nanoseconds(startPeriodNs)),
          ...flag('start-interval', nanoseconds(startIntervalNs)),
          ...flag('retries', retries),
        ],
        command === undefined ? 'NONE' : `CMD ${commandLine(command)}`,
      ];
    }
    case 'expose':
      return [[], instruction.ports.join(' ')];
    case 'volume':
      return [[], words(instruction.paths)];
    case 'stopsignal':
      return [[], instruction.signal];
    case 'shell':
      return [[], JSON.stringify(instruction.argv)];
    case 'onbuild':
      return [[], instruction.expression];
  }
}

function flag(name: string, value: string | number | boolean | undefined): string[] {
  return value === undefined ? [] : [`--${name}=${value}`];
}

function flags(name: string, values: readonly string[]): string[] {
  return values.map((value) => `--${name}=${value}`);
}

function on(name: string, value: boolean): string[] {
  return value ? [`--${name}`] : [];
}

function copyFlags({ chown, chmod, link, exclude }: CopyParts): string[] {
  return [
    ...flag('chown', chown),
    ...flag('chmod', chmod),
    ...on('link', link),
    ...flags('exclude', exclude),
  ];
}

function nanoseconds(value: number | undefined): string | undefined {
  return value === undefined ? undefined : `${value}ns`;
}

/** In a flag quotes and escapes vanish, so that those which belong to its value are escaped. */
function quotedFlag(text: string, escapeCharacter: string): string {
  return Array.from(text, (character) =>
    character === '"' || character === "'" || character === escapeCharacter || isSpace(character)
      ? `${escapeCharacter}${character}`
      : character,
  ).join('');
}

function args({ args: all }: ArgInstruction): string {
  return all.map(({ name, value }) => (value === undefined ? name : `${name}=${value}`)).join(' ');
}

function keyValue({ key, value, legacy }: KeyValue): string {
  if (!legacy) {
    return `${key}=${value}`;
  }
  // An escape at the end of the name takes one blank with it.
  return `${key}${/[\\`]$/.test(key) ? '  ' : ' '}${value}`;
}

function commandLine(command: CommandLine): string {
  return command.form === 'exec' ? JSON.stringify(command.argv) : command.text;
}

/** Heredocs first: so neither a bracket nor a quote of a source has a part in how they are read. */
function paths({ sources, heredocs, destination }: CopyParts): string {
  return heredocs.length === 0
    ? words([...sources, destination])
    : [...heredocs.map(opening), ...sources, destination].join(' ');
}

/** Separated by blanks where that says the same, else as JSON. */
function words(all: readonly string[]): string {
  const plain = all.every(
    (word) => word !== '' && !Array.from(word).some(isSpace) && parseHeredocWord(word) === undefined,
  );
  return plain && !all[0]?.startsWith('[') ? all.join(' ') : JSON.stringify(all);
}

function opening({ name, expand, chomp, fileDescriptor }: Heredoc): string {
  const start = `${fileDescriptor === 0 ? '' : fileDescriptor}<<${chomp ? '-' : ''}`;
  if (!expand) {
    return `${start}"${name.replace(/["\\$]/g, '\\$&')}"`;
  }
  return `${start}${Array.from(name, (character) => (/[\w.]/.test(character) ? character : `\\${character}`)).join('')}`;
}
