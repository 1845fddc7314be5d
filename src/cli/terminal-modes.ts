/**
 * Which modes of the terminal a program has switched and not switched back, because it was killed: the other screen, reports of
 * the mouse, a hidden cursor. Those that a program leaves on purpose, such as its title, are not followed.
 */

/** DEC private modes that change what the terminal shows or sends, with how they are by default. Source: xterm, "ctlseqs". */
const DEFAULTS: ReadonlyMap<string, 'h' | 'l'> = new Map([
  ['1', 'l'], // application cursor keys
  ['5', 'l'], // reverse video
  ['6', 'l'], // origin mode
  ['7', 'h'], // autowrap
  ['9', 'l'], // mouse
  ['25', 'h'], // cursor
  ['47', 'l'], // other screen
  ['66', 'l'], // application keypad
  ['1000', 'l'], // mouse, and how it is reported
  ['1002', 'l'],
  ['1003', 'l'],
  ['1004', 'l'], // focus
  ['1005', 'l'],
  ['1006', 'l'],
  ['1015', 'l'],
  ['1016', 'l'],
  ['1047', 'l'], // other screen
  ['1049', 'l'],
  ['2004', 'l'], // bracketed paste
  ['2026', 'l'], // synchronized output
]);

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
const SWITCH = /\x1b\[\?([0-9;]{1,64})([hl])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above.
const UNFINISHED = /\x1b(?:\[(?:\?[0-9;]{0,64})?)?$/;

export class TerminalModes {
  readonly #switched = new Set<string>();
  #unfinished = '';

  /** What the program writes, in pieces. */
  see(chunk: Buffer): void {
    if (this.#unfinished === '' && !chunk.includes(0x1b)) {
      return;
    }
    const text = this.#unfinished + chunk.toString('latin1');
    for (const [, modes = '', state] of text.matchAll(SWITCH)) {
      for (const mode of modes.split(';')) {
        if (DEFAULTS.get(mode) === state) {
          this.#switched.delete(mode);
        } else if (DEFAULTS.has(mode)) {
          this.#switched.add(mode);
        }
      }
    }
    this.#unfinished = UNFINISHED.exec(text)?.[0] ?? '';
  }

  /** What makes the terminal as it was; empty where the program did so itself. */
  undo(): string {
    const switched = [...this.#switched];
    this.#switched.clear();
    return switched.length === 0
      ? ''
      : `${switched.map((mode) => `\x1b[?${mode}${DEFAULTS.get(mode)}`).join('')}\x1b[m`;
  }
}
