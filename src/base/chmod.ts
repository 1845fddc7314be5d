/**
 * What chmod(1) does to a mode: octal, or a list of clauses such as `u=rwX,go-w`. There is no umask here, so that a clause
 * without a letter for whom is for all.
 *
 * Source: POSIX, "chmod", extended description, and BSD's setmode(3), which Docker's tools follow in what is left open: `X`
 * looks at the mode as it was, `s` of the others and `t` of the others alone are nothing.
 */

/** The mode after the change; `mode` is 07777 of what it is now. */
export type ModeChange = (mode: number, isDirectory: boolean) => number;

const MAX_MODE = 0o7777;
const OCTAL = /^[0-7]+$/;
const CLAUSE = /^([ugoa]*)((?:[-+=][rwxXstugo]*)+)$/;
const ACTION = /([-+=])([rwxXstugo]*)/g;

const SET_IDS = 0o6000;
const STICKY = 0o1000;
const EXECUTE = 0o111;
const WHOSE = { u: 0o4700, g: 0o2070, o: 0o0007, a: 0o6777 } as const;
const PERMISSIONS = { r: 0o444, w: 0o222, x: EXECUTE } as const;
/** How far to the left the bits of the owner and the group are. */
const SHIFT = { u: 6, g: 3, o: 0 } as const;

/** The change that the text says, or undefined where it says none. */
export function parseChmod(text: string): ModeChange | undefined {
  const octal = octalMode(text);
  if (octal !== undefined) {
    return () => octal;
  }
  const clauses = text.split(',').map(parseClause);
  if (clauses.some((clause) => clause === undefined)) {
    return undefined;
  }
  return (mode, isDirectory) =>
    clauses.reduce((now, clause) => clause?.(now, mode, isDirectory) ?? now, mode & MAX_MODE);
}

/** The mode of an octal text up to 07777; undefined for everything else. */
export function octalMode(text: string): number | undefined {
  if (!OCTAL.test(text)) {
    return undefined;
  }
  const mode = Number.parseInt(text, 8);
  return mode <= MAX_MODE ? mode : undefined;
}

type Clause = (now: number, before: number, isDirectory: boolean) => number;

function parseClause(text: string): Clause | undefined {
  const match = CLAUSE.exec(text);
  if (match === null) {
    return undefined;
  }
  const [, whom = '', actions = ''] = match;
  const mask = whom === '' ? WHOSE.a : [...whom].reduce((sum, letter) => sum | WHOSE[letter as 'u'], 0);
  const onlyOthers = mask === WHOSE.o;
  const steps = [...actions.matchAll(ACTION)];
  return (now, before, isDirectory) => {
    let mode = now;
    for (const [, operator, letters = ''] of steps) {
      const bits = bitsOf(letters, {
        mode,
        mask,
        onlyOthers,
        execute: executes(operator, before, isDirectory),
      });
      mode = operator === '-' ? mode & ~bits : (operator === '=' ? mode & ~mask : mode) | bits;
    }
    return mode;
  };
}

/** `X` takes away without asking. */
function executes(operator: string | undefined, before: number, isDirectory: boolean): boolean {
  return operator === '-' || isDirectory || (before & EXECUTE) !== 0;
}

interface Applied {
  readonly mode: number;
  readonly mask: number;
  readonly onlyOthers: boolean;
  /** What `X` means here. */
  readonly execute: boolean;
}

function bitsOf(letters: string, { mode, mask, onlyOthers, execute }: Applied): number {
  let bits = 0;
  for (const letter of letters) {
    switch (letter) {
      case 'r':
      case 'w':
      case 'x':
        bits |= PERMISSIONS[letter] & mask;
        break;
      case 'X':
        bits |= execute ? EXECUTE & mask : 0;
        break;
      case 's':
        bits |= SET_IDS & mask;
        break;
      case 't':
        bits |= onlyOthers ? 0 : STICKY;
        break;
      default: {
        const copied = (mode >> SHIFT[letter as keyof typeof SHIFT]) & 0o7;
        bits |= (copied * 0o111) & mask;
      }
    }
  }
  return bits;
}
