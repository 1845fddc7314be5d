/** Enough of a terminal to see what a program drew: wrapping, scrolling, and the sequences that progress uses. */

export class Screen {
  readonly isTTY = true;
  columns: number;
  rows: number;
  /** How many escape sequences it was sent that it does not know. */
  unknown = 0;
  cursorVisible = true;
  #lines: string[][] = [[]];
  #row = 0;
  #column = 0;
  #listeners = new Set<() => void>();

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
  }

  on(_event: 'resize', listener: () => void): void {
    this.#listeners.add(listener);
  }

  off(_event: 'resize', listener: () => void): void {
    this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /** Wraps what is on the screen anew, as terminals do. */
  resize(columns: number, rows: number): void {
    const old = this.#lines;
    this.columns = columns;
    this.rows = rows;
    this.#lines = [];
    for (const line of old) {
      const text = line.join('').trimEnd();
      this.#lines.push([...text.slice(0, columns)]);
      for (let at = columns; at < text.length; at += columns) {
        this.#lines.push([...text.slice(at, at + columns)]);
      }
    }
    this.#row = this.#lines.length - 1;
    for (const listener of this.#listeners) {
      listener();
    }
  }

  write(chunk: string | Uint8Array): void {
    const text = String(chunk);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what it reads.
    for (const token of text.match(/\x1b\[[?0-9;]*[A-Za-z]|\x1b.|[\s\S]/gu) ?? []) {
      this.#token(token);
    }
  }

  /** All that can be seen, scrolled-off lines first. */
  text(): string {
    return this.#lines
      .map((line) =>
        Array.from(line, (cell) => cell ?? ' ')
          .join('')
          .trimEnd(),
      )
      .join('\n')
      .trimEnd();
  }

  #token(token: string): void {
    if (token === '\n') {
      this.#column = 0;
      this.#down();
    } else if (token === '\r') {
      this.#column = 0;
    } else if (!token.startsWith('\x1b')) {
      if (this.#column >= this.columns) {
        this.#column = 0;
        this.#down();
      }
      const line = this.#lines[this.#row] ?? [];
      line[this.#column] = token;
      this.#lines[this.#row] = line;
      this.#column += 1;
    } else if (token.startsWith('\x1b[') && token.endsWith('A')) {
      const top = Math.max(0, this.#lines.length - this.rows);
      this.#row = Math.max(top, this.#row - Number(token.slice(2, -1) || '1'));
    } else if (token === '\x1b[K') {
      this.#lines[this.#row]?.splice(this.#column);
    } else if (token === '\x1b[J') {
      this.#lines[this.#row]?.splice(this.#column);
      this.#lines.splice(this.#row + 1);
    } else if (token === '\x1b[?25l' || token === '\x1b[?25h') {
      this.cursorVisible = token.endsWith('h');
    } else if (!/^(\?2026[hl]|[0-9;]*m)$/.test(token.slice(2))) {
      this.unknown += 1;
    }
  }

  #down(): void {
    this.#row += 1;
    this.#lines[this.#row] ??= [];
  }
}
