/** Completion scripts for shells, made from the table of commands. */
import type { CommandEntry, Operand } from './command.ts';
import { BadValue, type Completion, type Option } from './option.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;

interface Completable {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly Option<unknown>[];
  readonly operands: readonly Operand[];
}

/** @throws {BadValue} for a shell that there is no script for. */
export async function completionScript(shell: string, table: readonly CommandEntry[]): Promise<string> {
  const commands: Completable[] = [];
  for (const entry of table) {
    const { options, operands } = await entry.load();
    commands.push({ name: entry.name, summary: entry.summary, options: Object.values(options), operands });
  }
  switch (shell) {
    case 'bash':
      return bash(commands);
    case 'zsh':
      return zsh(commands);
    case 'fish':
      return fish(commands);
    default:
      throw new BadValue(`'${shell}' is not one of ${SHELLS.join(', ')}`, SHELLS);
  }
}

/** First words of all commands, each once, with their summary. */
function firstWords(commands: readonly Completable[]): Map<string, string> {
  const words = new Map<string, string>();
  for (const { name, summary } of commands) {
    const [first = '', second] = name.split(' ');
    if (!words.has(first)) {
      words.set(first, second === undefined ? summary : `Commands about ${first}s`);
    }
  }
  return words.set('help', 'Explain a command');
}

/** Groups such as `image`, with their commands. */
function groups(commands: readonly Completable[]): Map<string, Completable[]> {
  const found = new Map<string, Completable[]>();
  for (const command of commands) {
    const [first = '', second] = command.name.split(' ');
    if (second !== undefined) {
      found.set(first, [...(found.get(first) ?? []), command]);
    }
  }
  return found;
}

function longFlags(option: Option<unknown>): string[] {
  return option.negatable ? [`--${option.long}`, `--no-${option.long}`] : [`--${option.long}`];
}

function flagWords(command: Completable): string[] {
  return [
    ...command.options.flatMap((option) => [
      ...longFlags(option),
      ...(option.short === undefined ? [] : [`-${option.short}`]),
    ]),
    '--help',
  ];
}

// bash ---------------------------------------------------------------------------------------------------------------

function bash(commands: readonly Completable[]): string {
  const groupNames = [...groups(commands).keys()];
  const cases = commands.map(
    (command) => `    '${command.name}')
      flags=${quote(flagWords(command).join(' '))}
      values=${quote(valueFlagWords(command).join(' '))}
      case "$previous" in
${command.options
  .filter((option) => option.valueName !== undefined)
  .map((option) => `        ${flagPattern(option)}) ${bashAnswer(option.completion)}; return ;;`)
  .join('\n')}
      esac
      operand() { ${bashAnswer(command.operands[0]?.completion ?? 'nothing')}; } ;;`,
  );
  return `# Completion of tsbuild for bash; made by 'tsbuild completion bash'.
_tsbuild() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local command='' flags='' values='' index=1 word
  COMPREPLY=()
  # bash breaks words at '=': '--progress=pl' arrives as three words.
  if [[ $current == '=' ]]; then
    current=''
  elif [[ $previous == '=' ]]; then
    previous="\${COMP_WORDS[COMP_CWORD-2]}"
  fi
  operand() { :; }
  if (( COMP_CWORD > 1 )); then
    command="\${COMP_WORDS[1]}"
    case "$command" in
      ${groupNames.join('|')})
        if (( COMP_CWORD > 2 )); then
          command="$command \${COMP_WORDS[2]}"
        fi ;;
    esac
  fi
  # What follows '--' belongs to somebody else.
  for (( index = 1; index < COMP_CWORD; index++ )); do
    if [[ \${COMP_WORDS[index]} == '--' ]]; then
      compopt -o default 2>/dev/null
      return
    fi
  done
  case "$command" in
    '')
      _tsbuild_words ${quote(`${[...firstWords(commands).keys()].join(' ')} --help --version`)} "$current"
      return ;;
    help)
      _tsbuild_words ${quote([...firstWords(commands).keys()].filter((word) => word !== 'help').join(' '))} "$current"
      return ;;
${[...groups(commands)]
  .map(
    ([name, members]) => `    ${name})
      _tsbuild_words ${quote(members.map((member) => member.name.split(' ')[1]).join(' '))} "$current"
      return ;;`,
  )
  .join('\n')}
${cases.map((text) => dedupeEmptyCase(text)).join('\n')}
    *)
      return ;;
  esac
  if [[ $current == -* ]]; then
    _tsbuild_words "$flags" "$current"
    # A flag with a value goes on with '='.
    if (( \${#COMPREPLY[@]} == 1 )) && [[ " $values " == *" \${COMPREPLY[0]} "* ]]; then
      COMPREPLY=("\${COMPREPLY[0]}=")
      compopt -o nospace 2>/dev/null
    fi
    return
  fi
  operand
}
_tsbuild_words() {
  local word
  for word in $1; do
    if [[ $word == "$2"* ]]; then
      COMPREPLY+=("$word")
    fi
  done
}
_tsbuild_files() {
  local IFS=$'\\n'
  COMPREPLY=( $(compgen "$1" -- "$2") )
  compopt -o filenames 2>/dev/null
}
complete -F _tsbuild tsbuild
`;
}

/** A `case` without a pattern is legal, and only noise. */
function dedupeEmptyCase(text: string): string {
  return text.replace(/ {6}case "\$previous" in\n\n {6}esac\n/, '');
}

function valueFlagWords(command: Completable): string[] {
  return command.options.filter((option) => option.valueName !== undefined).flatMap(longFlags);
}

function flagPattern(option: Option<unknown>): string {
  return [...longFlags(option), ...(option.short === undefined ? [] : [`-${option.short}`])].join('|');
}

function bashAnswer(completion: Completion): string {
  switch (completion) {
    case 'file':
      return '_tsbuild_files -f "$current"';
    case 'directory':
      return '_tsbuild_files -d "$current"';
    case 'nothing':
      return ':';
    default:
      return `_tsbuild_words ${quote(completion.join(' '))} "$current"`;
  }
}

// zsh ----------------------------------------------------------------------------------------------------------------

function zsh(commands: readonly Completable[]): string {
  const inGroups = groups(commands);
  const cases = commands
    .filter((command) => !command.name.includes(' '))
    .map((command) => `    ${command.name})\n${zshArguments(command, '      ')} ;;`);
  const groupCases = [...inGroups].map(
    ([name, members]) => `    ${name})
      if (( CURRENT == 2 )); then
        commands=(
${members.map((member) => `          ${quote(`${member.name.split(' ')[1]}:${member.summary}`)}`).join('\n')}
        )
        _describe command commands
      else
        shift words
        (( CURRENT-- ))
        case $words[1] in
${members.map((member) => `          ${member.name.split(' ')[1]})\n${zshArguments(member, '            ')} ;;`).join('\n')}
        esac
      fi ;;`,
  );
  return `#compdef tsbuild
# Completion of tsbuild for zsh; made by 'tsbuild completion zsh'.
_tsbuild() {
  local -a commands
  if (( CURRENT == 2 )); then
    commands=(
${[...firstWords(commands)].map(([word, summary]) => `      ${quote(`${word}:${summary}`)}`).join('\n')}
    )
    _describe command commands
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
${[...cases, ...groupCases].join('\n')}
  esac
}
if [[ $funcstack[1] == _tsbuild ]]; then
  _tsbuild "$@"
else
  compdef _tsbuild tsbuild
fi
`;
}

function zshArguments(command: Completable, indent: string): string {
  const specs = [
    ...command.options.flatMap(zshOption),
    quote('(-h --help)'.concat('{-h,--help}')).replace("{-h,--help}'", "'{-h,--help}'[Show help]'"),
    ...command.operands.map((operand, index) => {
      const place = operand.repeatable === true ? '*' : String(index + 1);
      return quote(`${place}:${zshText(operand.name.toLowerCase())}:${zshAction(operand.completion)}`);
    }),
  ];
  return `${indent}_arguments -s -S \\\n${specs.map((spec) => `${indent}  ${spec}`).join(' \\\n')}`;
}

function zshOption(option: Option<unknown>): string[] {
  const repeat = option.repeatable ? '*' : '';
  const text = `[${zshText(option.summary)}]`;
  const action =
    option.valueName === undefined ? '' : `:${zshText(option.valueName)}:${zshAction(option.completion)}`;
  const equals = option.valueName === undefined ? '' : '=';
  const specs = longFlags(option).map((flag) => quote(`${repeat}${flag}${equals}${text}${action}`));
  if (option.short !== undefined) {
    const plus = option.valueName === undefined ? '' : '+';
    specs.push(quote(`${repeat}-${option.short}${plus}${text}${action}`));
  }
  return specs;
}

function zshAction(completion: Completion): string {
  switch (completion) {
    case 'file':
      return '_files';
    case 'directory':
      return '_files -/';
    case 'nothing':
      return ' ';
    default:
      return `(${completion.join(' ')})`;
  }
}

function zshText(text: string): string {
  return text.replace(/[[\]:\\]/g, '\\$&');
}

// fish ---------------------------------------------------------------------------------------------------------------

function fish(commands: readonly Completable[]): string {
  const lines = [
    "# Completion of tsbuild for fish; made by 'tsbuild completion fish'.",
    'function __tsbuild_is',
    '    set -l words (commandline -opc)',
    '    set -e words[1]',
    '    test (count $words) -ge (count $argv); or return 1',
    '    for index in (seq (count $argv))',
    '        test $words[$index] = $argv[$index]; or return 1',
    '    end',
    'end',
    'complete -c tsbuild -f',
    ...[...firstWords(commands)].map(
      ([word, summary]) =>
        `complete -c tsbuild -n 'test (count (commandline -opc)) -eq 1' -a ${quoteFish(word)} -d ${quoteFish(summary)}`,
    ),
  ];
  for (const [name, members] of groups(commands)) {
    for (const member of members) {
      lines.push(
        `complete -c tsbuild -n '__tsbuild_is ${name}; and test (count (commandline -opc)) -eq 2' -a ${quoteFish(member.name.split(' ')[1] ?? '')} -d ${quoteFish(member.summary)}`,
      );
    }
  }
  for (const command of commands) {
    const when = `-n '__tsbuild_is ${command.name}'`;
    for (const option of command.options) {
      for (const flag of longFlags(option)) {
        const short = option.short === undefined || flag.startsWith('--no-') ? '' : ` -s ${option.short}`;
        lines.push(
          `complete -c tsbuild ${when} -l ${flag.slice(2)}${short}${fishValue(option)} -d ${quoteFish(option.summary)}`,
        );
      }
    }
    lines.push(`complete -c tsbuild ${when} -l help -s h -d 'Show help'`);
    const operand = command.operands[0]?.completion ?? 'nothing';
    if (operand === 'file') {
      lines.push(`complete -c tsbuild ${when} -F`);
    } else if (operand !== 'nothing' && operand !== 'directory') {
      lines.push(`complete -c tsbuild ${when} -a ${quoteFish(operand.join(' '))}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function fishValue(option: Option<unknown>): string {
  if (option.valueName === undefined) {
    return '';
  }
  switch (option.completion) {
    case 'file':
    case 'directory':
      return ' -r -F';
    case 'nothing':
      return ' -x';
    default:
      return ` -x -a ${quoteFish(option.completion.join(' '))}`;
  }
}

/** One word of a POSIX shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** fish knows `\'` within single quotes. */
function quoteFish(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
