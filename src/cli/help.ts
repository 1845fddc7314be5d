/** Help texts, made from the tables. Fits 80 columns. */
import type { Command, CommandEntry } from './command.ts';
import type { Option } from './option.ts';

const WIDTH = 80;
/** Where the explanation of a flag or command begins. */
const GUTTER = 28;

export function programHelp(table: readonly CommandEntry[]): string {
  return [
    'Builds container images without a daemon and without root.',
    '',
    'Usage: tsbuild COMMAND [OPTIONS] [ARGUMENTS]',
    '',
    'Commands:',
    ...table.flatMap((entry) => row(entry.name, entry.summary)),
    '',
    'Examples:',
    ...example('Build every image that a file exports', 'tsbuild build image.ts'),
    ...example(
      'Build one of them, name it and push it',
      'tsbuild build image.ts::web -t registry.example/web:1 --push',
    ),
    ...example('Run what was built', 'tsbuild run image.ts::web'),
    ...example('See what this machine lacks', 'tsbuild doctor'),
    "Every command explains itself: 'tsbuild COMMAND --help'.",
    '',
  ].join('\n');
}

export function groupHelp(name: string, table: readonly CommandEntry[]): string {
  return [
    `Usage: tsbuild ${name} COMMAND [OPTIONS] [ARGUMENTS]`,
    '',
    'Commands:',
    ...table
      .filter((entry) => entry.name.startsWith(`${name} `))
      .flatMap((entry) => row(entry.name, entry.summary)),
    '',
    `Every command explains itself: 'tsbuild ${name} COMMAND --help'.`,
    '',
  ].join('\n');
}

export function commandHelp(entry: CommandEntry, command: Command): string {
  const lines = [...wrap(`${entry.summary}.`, WIDTH), '', ...wrapUsage(usageLine(entry.name, command)), ''];
  for (const paragraph of command.detail.split('\n\n')) {
    lines.push(...wrap(paragraph.replaceAll('\n', ' '), WIDTH), '');
  }
  const rest = command.rest === undefined ? [] : [command.rest];
  if (command.operands.length + rest.length > 0) {
    lines.push('Arguments:');
    for (const operand of command.operands) {
      lines.push(...row(operand.name, operand.summary));
    }
    for (const part of rest) {
      lines.push(...row(`-- ${part.name}`, part.summary));
    }
    lines.push('');
  }
  lines.push('Options:');
  for (const option of Object.values(command.options)) {
    lines.push(...row(spelling(option), explanation(option)));
  }
  lines.push(...row('-h, --help', 'Show this text'), '', 'Examples:');
  for (const { purpose, command: text } of command.examples) {
    lines.push(...example(purpose, text));
  }
  return lines
    .join('\n')
    .replace(/\n+$/, '\n')
    .concat(lines.at(-1) === '' ? '' : '\n');
}

/** `tsbuild build [OPTIONS] DEFINITION...` */
export function usageLine(name: string, command: Command): string {
  const operands = command.operands.map((operand) => {
    const text = operand.repeatable === true ? `${operand.name}...` : operand.name;
    return operand.required ? text : `[${text}]`;
  });
  const rest = command.rest === undefined ? [] : [`[-- ${command.rest.name}]`];
  return ['tsbuild', name, '[OPTIONS]', ...operands, ...rest].join(' ');
}

/** `-t, --tag NAME`, `--[no-]cache`. */
export function spelling(option: Option<unknown>): string {
  const short = option.short === undefined ? '    ' : `-${option.short}, `;
  const long = `--${option.negatable ? '[no-]' : ''}${option.long}`;
  return `${short}${long}${option.valueName === undefined ? '' : ` ${option.valueName}`}`;
}

function explanation(option: Option<unknown>): string {
  const notes = [];
  if (option.repeatable) {
    notes.push('repeatable');
  }
  if (option.words !== undefined) {
    notes.push(`one of ${option.words.join(', ')}`);
  }
  if (option.defaultText !== undefined) {
    notes.push(`default: ${option.defaultText}`);
  }
  return notes.length === 0 ? option.summary : `${option.summary} (${notes.join('; ')})`;
}

function row(left: string, right: string): string[] {
  const lines = wrap(right, WIDTH - GUTTER);
  const indented = `  ${left}`;
  if (indented.length > GUTTER - 2) {
    return [indented, ...lines.map((line) => ' '.repeat(GUTTER) + line)];
  }
  return lines.map((line, index) => (index === 0 ? indented.padEnd(GUTTER) : ' '.repeat(GUTTER)) + line);
}

/** A command line is not wrapped by us: it must stay copyable. Long ones carry their own `\` line ends. */
function example(purpose: string, command: string): string[] {
  return [
    ...wrap(`# ${purpose}`, WIDTH - 2).map((line) => `  ${line}`),
    ...command.split('\n').map((line) => `  ${line}`),
    '',
  ];
}

function wrapUsage(text: string): string[] {
  const [first = '', ...more] = wrap(`Usage: ${text}`, WIDTH - 2);
  return [first, ...more.map((line) => `  ${line}`)];
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
