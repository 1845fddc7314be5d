/** Text for a terminal: made harmless, measured and cut. */
import { lazily } from '../base/lazily.ts';

/**
 * Control strings that a terminal would act on: CSI, then OSC, DCS, PM, APC and SOS with their bodies, then any other
 * two-byte escape. Source: ECMA-48, sections 5.3 to 5.6. An unfinished string runs to the end of the text.
 */
const CONTROL_SEQUENCE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
  /(?:\x1b\[|\x9b)[\x30-\x3f]*[\x20-\x2f]*[\x40-\x7e]?|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[\x20-\x2f]*[\x30-\x7e]?/g;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
const CONTROL_CHARACTER = /[\x00-\x1f\x7f-\x9f]/g;

/** Characters that reorder what stands around them (Unicode TR 9), by which text can be made to look like other text. */
const BIDI_CONTROL = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Line and paragraph separator: some terminals and viewers break the line there. */
const LINE_SEPARATOR = /[\u2028\u2029]/g;

const TAB_WIDTH = 8;

/**
 * One line of somebody else's output, so that it can only ever be text: escape sequences are dropped, a carriage return
 * keeps what was written last, as a terminal would show it, and other control characters are shown as `^X`.
 */
export function neutralise(line: string): string {
  let text = line.replace(CONTROL_SEQUENCE, '');
  const end = text.endsWith('\r') ? text.length - 1 : text.length;
  const overwritten = text.lastIndexOf('\r', end - 1);
  text = text.slice(overwritten + 1, end);
  if (text.includes('\t')) {
    text = expandTabs(text);
  }
  return text
    .replace(CONTROL_CHARACTER, visible)
    .replace(BIDI_CONTROL, '\ufffd')
    .replace(LINE_SEPARATOR, '\ufffd');
}

/** Like {@link neutralise} for text of several lines, such as an error's message. */
export function neutraliseLines(text: string): string {
  return text.split('\n').map(neutralise).join('\n');
}

/** Legal in JSON and acted on by terminals, which is where such output often ends up. */
const LEGAL_CONTROL = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** `value` as JSON of the same meaning that no terminal acts on. */
export function terminalJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(
    LEGAL_CONTROL,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** How many cells `text` takes. `text` is neutral. */
export function displayWidth(text: string): number {
  if (isPrintableAscii(text)) {
    return text.length;
  }
  let width = 0;
  for (const character of text) {
    width += cellsOf(character);
  }
  return width;
}

/** `text` in at most `width` cells; what was cut is marked. */
export function truncate(text: string, width: number): string {
  if (width <= 0) {
    return '';
  }
  if (displayWidth(text) <= width) {
    return text;
  }
  let kept = '';
  let cells = 0;
  for (const character of text) {
    const next = cellsOf(character);
    if (cells + next > width - 1) {
      break;
    }
    kept += character;
    cells += next;
  }
  return `${kept}…`;
}

function expandTabs(text: string): string {
  let expanded = '';
  for (const part of text.split('\t')) {
    if (expanded !== '' || text.startsWith('\t')) {
      expanded += ' '.repeat(TAB_WIDTH - (expanded.length % TAB_WIDTH));
    }
    expanded += part;
  }
  return text.startsWith('\t') ? expanded.slice(TAB_WIDTH) : expanded;
}

function visible(character: string): string {
  const code = character.charCodeAt(0);
  if (code < 0x20) {
    return `^${String.fromCharCode(code + 0x40)}`;
  }
  return code === 0x7f ? '^?' : '\ufffd';
}

function isPrintableAscii(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}

const ZERO_WIDTH = lazily(() => /^[\p{Mn}\p{Me}\p{Cf}]$/u);

/** East Asian Wide and Fullwidth, and pictures. Source: Unicode TR 11, as ranges that cover them. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{16fe0}-\u{18aff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]$|^\p{Emoji_Presentation}$/u;

function cellsOf(character: string): number {
  if (ZERO_WIDTH().test(character)) {
    return 0;
  }
  return WIDE.test(character) ? 2 : 1;
}
