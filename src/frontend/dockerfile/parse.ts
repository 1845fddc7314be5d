/** Text → {@link Dockerfile}. */
import { CHECKS, isSkipped } from './check-rules.ts';
import { atPlace, emptyError, instructionError, syntaxError, withPlace } from './definition-place.ts';
import type {
  ArgInstruction,
  Directives,
  Dockerfile,
  Finding,
  FromInstruction,
  Location,
  StageInstruction,
} from './instruction.ts';
import { type InstructionLine, InstructionReader } from './instruction-lines.ts';
import { type Instruction, parseInstruction } from './parse-instruction.ts';
import { trim } from './white-space.ts';

export interface ParseOptions {
  /** What messages call the text: the path of the file as the user gave it. */
  readonly name: string;
}

/**
 * @param text - Of the whole file.
 * @throws {DefinitionError} `E_DOCKERFILE_EMPTY`, or with its place `E_DOCKERFILE_SYNTAX`, `E_DOCKERFILE_INSTRUCTION` or
 *   `E_DOCKERFILE_FLAG`.
 */
export function parseDockerfile(text: string, { name }: ParseOptions): Dockerfile {
  const reader = new InstructionReader(text, name);
  const findings: Finding[] = [];
  const globalArgs: ArgInstruction[] = [];
  const stages: { from: FromInstruction; instructions: StageInstruction[] }[] = [];
  for (const instruction of instructionsOf(reader, findings)) {
    const stage = stages.at(-1);
    if (instruction.kind === 'from') {
      stages.push({ from: instruction, instructions: [] });
    } else if (stage !== undefined) {
      stage.instructions.push(instruction);
    } else if (instruction.kind === 'arg') {
      globalArgs.push(instruction);
    } else {
      throw misplaced(reader, instruction, `${instruction.kind.toUpperCase()} stands before the first FROM`, {
        hint: 'only ARG may come before FROM',
        culprit: instruction.keyword,
      });
    }
  }
  if (stages.length === 0) {
    throw noStage(reader, globalArgs);
  }
  return { directives: reader.directives, globalArgs, stages, findings, lines: reader.text.lines };
}

export interface ParseInstructionsOptions extends ParseOptions {
  /** @defaultValue what the text's directive says, else the backslash */
  readonly escape?: '\\' | '`';
}

/** Instructions that continue a stage. */
export interface ParsedInstructions {
  readonly directives: Directives;
  readonly instructions: readonly StageInstruction[];
  readonly findings: readonly Finding[];
  /** For excerpts. */
  readonly lines: readonly string[];
}

/**
 * Instructions without a FROM: a trigger that ONBUILD kept, or some that continue an image.
 *
 * @param text - Several texts are put together as lines; an instruction may run over them.
 * @throws {DefinitionError} As {@link parseDockerfile}; also for FROM.
 */
export function parseInstructions(
  text: string | readonly string[],
  { name, escape: escapeCharacter }: ParseInstructionsOptions,
): ParsedInstructions {
  const reader = new InstructionReader(
    typeof text === 'string' ? text : text.join('\n'),
    name,
    escapeCharacter,
  );
  const findings: Finding[] = [];
  const instructions: StageInstruction[] = [];
  for (const instruction of instructionsOf(reader, findings)) {
    if (instruction.kind === 'from') {
      throw misplaced(reader, instruction, 'FROM cannot stand here: the instructions continue an image', {
        hint: 'remove it',
        culprit: instruction.keyword,
      });
    }
    instructions.push(instruction);
  }
  return { directives: reader.directives, instructions, findings, lines: reader.text.lines };
}

function* instructionsOf(reader: InstructionReader, findings: Finding[]): Generator<Instruction> {
  for (let line = reader.next(); line !== undefined; line = reader.next()) {
    const { text, location, comments } = line;
    const instruction = atPlace(reader.text, location, () =>
      parseInstruction(text, location, comments, reader.directives.escape, (opening) =>
        reader.heredocBody(opening, location),
      ),
    );
    findings.push(...findingsOf(instruction, line));
    yield instruction;
  }
}

/** What only the lines and comments show; the other checks look at the instructions. */
function findingsOf(instruction: Instruction, { comments, emptyLines }: InstructionLine): Finding[] {
  const findings: Finding[] = [];
  const [empty] = emptyLines;
  if (empty !== undefined) {
    findings.push({
      rule: 'NoEmptyContinuation',
      message: CHECKS.NoEmptyContinuation.message(),
      location: { startLine: empty, endLine: emptyLines.at(-1) ?? empty },
    });
  }
  const names = describedNames(instruction);
  const comment = comments.findLast((each) => !each.toLowerCase().startsWith('check='));
  if (comment !== undefined && names.length > 0 && !names.includes(comment.split(' ')[0] ?? '')) {
    const example = names.join("' or '");
    findings.push({
      rule: 'InvalidDefinitionDescription',
      message: CHECKS.InvalidDefinitionDescription.message(example),
      location: instruction.location,
    });
  }
  const { skipChecks } = instruction;
  return findings.filter(({ rule }) => !isSkipped(rule, skipChecks));
}

function describedNames(instruction: Instruction): readonly string[] {
  if (instruction.kind === 'arg') {
    return instruction.args.map(({ name }) => name);
  }
  return instruction.kind === 'from' && instruction.stageName !== undefined
    ? [instruction.stageName.toLowerCase()]
    : [];
}

function misplaced(
  reader: InstructionReader,
  { location }: { readonly location: Location },
  message: string,
  facts: { readonly hint: string; readonly culprit: string },
): Error {
  return withPlace(instructionError(message, facts), reader.text, location);
}

function noStage(reader: InstructionReader, globalArgs: readonly ArgInstruction[]): Error {
  const { name, lines } = reader.text;
  const lastArg = globalArgs.at(-1);
  if (lastArg !== undefined) {
    const error = syntaxError('there are ARGs but no FROM, so there is nothing to build', {
      hint: 'add FROM IMAGE',
    });
    return withPlace(error, reader.text, lastArg.location);
  }
  const isEmpty = lines.every((line) => trim(line) === '');
  return emptyError(isEmpty ? `'${name}' is empty` : `'${name}' has no instruction, only comments`, {
    hint: 'a Dockerfile begins with FROM IMAGE',
    file: name,
  });
}
