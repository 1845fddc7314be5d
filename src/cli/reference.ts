/** docs/reference/cli.md, made from the tables. */
import type { Command, CommandEntry } from './command.ts';
import { EXIT_STATUSES } from './exit-status.ts';
import { spelling, usageLine } from './help.ts';
import type { Option } from './option.ts';

export async function cliReference(table: readonly CommandEntry[]): Promise<string> {
  const sections: string[] = [];
  for (const entry of table) {
    sections.push(commandSection(entry, await entry.load()));
  }
  return `${[
    '# The command line',
    'Made by `npm run generate` from `src/cli/`; edit the tables there.',
    'Results go to standard output, progress and errors to standard error. A reader that closes our output does not fail a build. The first Ctrl-C cancels and cleans up, the second one ends at once.',
    '## Exit statuses',
    [
      '| status | meaning |',
      '|---|---|',
      ...EXIT_STATUSES.map(([status, meaning]) => `| ${status} | ${meaning} |`),
    ].join('\n'),
    '## Commands',
    table
      .map((entry) => `- [\`tsbuild ${entry.name}\`](#${anchor(entry.name)}): ${entry.summary}.`)
      .join('\n'),
    ...sections,
  ].join('\n\n')}\n`;
}

function commandSection(entry: CommandEntry, command: Command): string {
  const parts = [
    `### tsbuild ${entry.name}`,
    fenced(usageLine(entry.name, command), 'text'),
    `${entry.summary}. ${command.detail}`,
  ];
  const rest =
    command.rest === undefined ? [] : [{ name: `-- ${command.rest.name}`, summary: command.rest.summary }];
  const operands = [...command.operands, ...rest];
  if (operands.length > 0) {
    parts.push(
      [
        '| argument | meaning |',
        '|---|---|',
        ...operands.map(({ name, summary }) => `| \`${name}\` | ${cell(summary)}. |`),
      ].join('\n'),
    );
  }
  const options = Object.values(command.options);
  if (options.length > 0) {
    parts.push(['| flag | meaning |', '|---|---|', ...options.map(optionRow)].join('\n'));
  }
  for (const { purpose, command: text } of command.examples) {
    parts.push(`${purpose}:`, fenced(text, 'sh'));
  }
  return parts.join('\n\n');
}

function optionRow(option: Option<unknown>): string {
  const notes = [option.detail];
  if (option.words !== undefined) {
    notes.push(`One of ${option.words.map((word) => `\`${word}\``).join(', ')}.`);
  }
  if (option.repeatable) {
    notes.push('May be repeated.');
  }
  if (option.defaultText !== undefined) {
    notes.push(`Default: ${option.defaultText}.`);
  }
  if (option.environment !== undefined) {
    notes.push(`Environment: \`${option.environment}\`.`);
  }
  return `| \`${spelling(option).trim()}\` | ${cell(notes.join(' '))} |`;
}

function fenced(text: string, language: string): string {
  return `\`\`\`${language}\n${text}\n\`\`\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function anchor(name: string): string {
  return `tsbuild-${name.replaceAll(' ', '-')}`;
}
