/** An ignore file of a build context, with what a message can say of its lines. */
import { DefinitionError } from '../errors.ts';
import { type DockerignoreMatcher, type DockerignorePattern, dockerignoreMatcher } from './dockerignore.ts';
import { cleanPath } from './glob.ts';

export interface IgnoreFile {
  /** Where it is, as messages show it. */
  readonly name: string;
  /** Its patterns know their lines. */
  readonly matcher: DockerignoreMatcher;
}

/**
 * A byte order mark is dropped, `#` makes a comment in the first column only, and white space around a pattern does not count.
 *
 * @throws {DefinitionError} `E_BAD_PATTERN`, with the line.
 */
export function parseIgnoreFile(text: string, name: string): IgnoreFile {
  const lines = ignoreFileLines(text);
  try {
    return { name, matcher: dockerignoreMatcher(lines) };
  } catch (error) {
    throw atLine(error, lines, name);
  }
}

/** One for each line of the file, comments empty: numbers stay what an editor shows. */
export function ignoreFileLines(text: string): string[] {
  return text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line) => (line.startsWith('#') ? '' : line));
}

/**
 * For the check CopyIgnoredFile: the line that hides all that `source` names, as far as the text alone tells. With a `!` in
 * the file it does not tell.
 */
export function ignoringPattern({ matcher }: IgnoreFile, source: string): DockerignorePattern | undefined {
  if (!matcher.prunes) {
    return undefined;
  }
  const path = cleanPath(`/${source}`).replace(/^(\.\.(\/|$))+/, '');
  if (path === '' || path === '.') {
    return matcher.patterns.find(({ text }) => ['*', '**', '**/*'].includes(cleanPath(text)));
  }
  return decidingPattern(matcher, path);
}

/** Which pattern ignores the path, or a directory that it is in, on the way down to it. */
export function decidingPattern(matcher: DockerignoreMatcher, path: string): DockerignorePattern | undefined {
  const names = path.split('/');
  let answer: ReturnType<DockerignoreMatcher['descend']> | undefined;
  for (let end = 1; end <= names.length; end += 1) {
    answer = matcher.descend(names.slice(0, end).join('/'), answer);
  }
  return answer?.matched === true ? answer.decidedBy : undefined;
}

function atLine(error: unknown, lines: readonly string[], name: string): unknown {
  const line = lines.findIndex((each) => {
    try {
      dockerignoreMatcher([each]);
      return false;
    } catch {
      return true;
    }
  });
  return error instanceof DefinitionError
    ? new DefinitionError(`${name}:${line + 1}: ${error.message}`, {
        code: error.code,
        hint: error.hint,
        cause: error,
      })
    : error;
}
