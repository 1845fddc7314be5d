/** An output whose lines can be held back for a while. */
import type { OutputStream } from '../context.ts';

/** Somebody may look around for hours while other steps go on talking; all that they say is in their logs. */
const MOST_HELD = 256 * 1024;

export class HeldOutput implements OutputStream {
  readonly #stream: OutputStream;
  #held: string[] | undefined;
  #length = 0;
  #dropped = 0;

  constructor(stream: OutputStream) {
    this.#stream = stream;
  }

  write(chunk: string | Uint8Array): void {
    if (this.#held === undefined) {
      this.#stream.write(chunk);
      return;
    }
    const text = String(chunk);
    this.#held.push(text);
    this.#length += text.length;
    while (this.#length > MOST_HELD && this.#held.length > 1) {
      this.#length -= this.#held.shift()?.length ?? 0;
      this.#dropped += 1;
    }
  }

  hold(): void {
    this.#held ??= [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#length = 0;
    if (this.#dropped > 0) {
      this.#stream.write(`... ${this.#dropped} earlier lines of progress are not shown\n`);
      this.#dropped = 0;
    }
    for (const text of held) {
      this.#stream.write(text);
    }
  }
}
