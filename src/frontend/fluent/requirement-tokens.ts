/** What pipInstall and uvPipInstall are given: requirements, and options of pip that stand between them (A2.1, E1). */
import { definitionError } from './arguments.ts';

/** Of pip: each takes the next token as its value unless it carries one. */
const TAKES_VALUE = new Set(
  (
    '-r --requirement -c --constraint -e --editable -i --index-url --extra-index-url -f --find-links ' +
    '--trusted-host --only-binary --no-binary --platform --python-version --implementation --abi -t --target ' +
    '--prefix --root --src --upgrade-strategy -C --config-settings --global-option --build-option --progress-bar ' +
    '--report --proxy --retries --timeout --exists-action --cert --client-cert --cache-dir --log --use-feature ' +
    '--use-deprecated --root-user-action --keyring-provider --python'
  ).split(' '),
);

export interface RequirementTokens {
  /** Sorted by code point, so that the order of arguments is not in the key. */
  readonly requirements: readonly string[];
  /** Options and their values, in the order of the call. */
  readonly inlineOptions: readonly string[];
}

/** @throws {DefinitionError} `E_OPTION_VALUE_MISSING` */
export function classifyRequirements(method: string, tokens: readonly string[]): RequirementTokens {
  const requirements: string[] = [];
  const inlineOptions: string[] = [];
  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at] as string;
    if (!token.startsWith('-')) {
      requirements.push(token);
      continue;
    }
    inlineOptions.push(token);
    if (TAKES_VALUE.has(token)) {
      at += 1;
      const value = tokens[at];
      if (value === undefined) {
        throw definitionError('E_OPTION_VALUE_MISSING', `${method}(): '${token}' needs a value after it`);
      }
      inlineOptions.push(value);
    }
  }
  return { requirements: requirements.sort(byCodePoint), inlineOptions };
}

/** JavaScript compares UTF-16 units, which puts emoji before some other characters that come first in Unicode. */
export function byCodePoint(one: string, other: string): number {
  const left = [...one];
  const right = [...other];
  for (let at = 0; at < left.length && at < right.length; at += 1) {
    const difference = (left[at]?.codePointAt(0) ?? 0) - (right[at]?.codePointAt(0) ?? 0);
    if (difference !== 0) {
      return difference;
    }
  }
  return left.length - right.length;
}

/** Whether a requirement says which version: `==`, `===`, a URL, a file. For `W_UNPINNED`. */
export function isPinned(requirement: string): boolean {
  // What stands behind a semicolon says where the requirement holds, with an `==` of its own.
  const [what = ''] = requirement.split(/;/, 1);
  return /[^!<>~=]===?[^=]|\s@\s|^[a-z+]+:\/\/|\.whl$|^[./]/.test(what);
}

/**
 * Lines of a requirements file that name other local files, which do not travel with it (A2.2).
 * Continuation lines are joined, as pip does.
 */
export function nestedRequirementLines(text: string): string[] {
  return text
    .replace(/^\uFEFF/, '')
    .replace(/\\\r?\n/g, '')
    .split(/\r?\n/)
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '' && namesLocalFile(line));
}

function namesLocalFile(line: string): boolean {
  const option = /^(?:(-[rce])\s*|--(requirement|constraint|editable)(?:=|\s+))(.*)$/.exec(line);
  if (option !== null) {
    return !isRemote((option[3] as string).replace(/^['"]/, ''));
  }
  if (line.startsWith('-') || isRemote(line)) {
    return false;
  }
  // `name @ file:…` is a local path as well; a bare path begins with a dot or slash, or is an archive's name.
  const target = /\s@\s*(\S+)/.exec(line)?.[1] ?? line.split(/[\s;]/, 1)[0] ?? '';
  return /^(file:|\.{0,2}\/|\.{1,2}$|~\/)|\.(whl|tar\.gz|zip)$/.test(target) && !isRemote(target);
}

/** A URL of another scheme than `file:`, or one of version control. */
function isRemote(text: string): boolean {
  return (
    /^(?!file:)([a-z]+\+)?(https?|ssh|git|ftp):\/\//i.test(text) || /^(git|hg|svn|bzr)\+(?!file:)/.test(text)
  );
}
