import { describe, expect, test } from 'vitest';
import { TerminalModes } from '../../../src/cli/terminal-modes.ts';

function undoAfter(...pieces: string[]): string {
  const modes = new TerminalModes();
  for (const piece of pieces) {
    modes.see(Buffer.from(piece, 'latin1'));
  }
  return modes.undo();
}

describe('what a program left switched is switched back', () => {
  test.each([
    ['nothing', '\x1b[31mred\x1b[m \x1b[2J', ''],
    ['switched and switched back', '\x1b[?1049h\x1b[?25l…\x1b[?25h\x1b[?1049l', ''],
    ['the other screen, without a cursor', '\x1b[?1049h\x1b[?25l', '\x1b[?1049l\x1b[?25h\x1b[m'],
    ['several at once', '\x1b[?1002;1006h\x1b[?1002l', '\x1b[?1006l\x1b[m'],
    ['one that is nobody’s business', '\x1b[?31337h', ''],
  ])('%s', (_name, written, undo) => {
    expect(undoAfter(written)).toBe(undo);
  });

  test('wherever the pieces are cut', () => {
    const written = 'a\x1b[?2004hb\x1b[?7lc';
    for (let cut = 1; cut < written.length; cut += 1) {
      expect(undoAfter(written.slice(0, cut), written.slice(cut))).toBe('\x1b[?2004l\x1b[?7h\x1b[m');
    }
    expect(undoAfter(...written)).toBe('\x1b[?2004l\x1b[?7h\x1b[m');
  });

  test('once', () => {
    const modes = new TerminalModes();
    modes.see(Buffer.from('\x1b[?25l'));
    expect(modes.undo()).not.toBe('');
    expect(modes.undo()).toBe('');
  });
});
