/**
 * Names of files as text and back, without loss. A name is bytes; what is not UTF-8 becomes lone surrogates, one for each
 * byte, as Python's `surrogateescape` does it, so that the text is well-formed exactly if the name is UTF-8.
 */
import { isUtf8 } from 'node:buffer';

const FIRST_ESCAPE = 0xdc00;
const LONE_SURROGATE = /[\uD800-\uDFFF]/u;

export function pathText(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(buffer)) {
    return buffer.toString('utf8');
  }
  let text = '';
  for (let at = 0; at < buffer.length; ) {
    const length = sequenceLength(buffer[at] as number);
    const sequence = buffer.subarray(at, at + length);
    if (sequence.length === length && isUtf8(sequence)) {
      text += sequence.toString('utf8');
      at += length;
    } else {
      text += String.fromCharCode(FIRST_ESCAPE + (buffer[at] as number));
      at += 1;
    }
  }
  return text;
}

export function pathBytes(text: string): Buffer {
  if (!LONE_SURROGATE.test(text)) {
    return Buffer.from(text, 'utf8');
  }
  return Buffer.concat(
    [...text].map((char) =>
      LONE_SURROGATE.test(char)
        ? Buffer.from([char.charCodeAt(0) - FIRST_ESCAPE])
        : Buffer.from(char, 'utf8'),
    ),
  );
}

/** By its first byte; 1 also for a byte that cannot begin one. */
function sequenceLength(first: number): number {
  if (first >= 0xf0) {
    return 4;
  }
  if (first >= 0xe0) {
    return 3;
  }
  return first >= 0xc0 ? 2 : 1;
}
