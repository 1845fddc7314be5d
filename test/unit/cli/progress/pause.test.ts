import { expect, test } from 'vitest';
import { HeldOutput } from '../../../../src/cli/progress/held-output.ts';
import { openProgress } from '../../../../src/cli/progress/open.ts';
import { ttyProgress } from '../../../../src/cli/progress/tty.ts';
import { smallBuild, smallBuildEnd } from '../../../support/events.ts';
import { ManualTicker } from '../../../support/manual-ticker.ts';
import { Screen } from '../../../support/screen.ts';

test.each(['plain', 'json'] as const)(
  '%s progress loses nothing of what happened while it was paused',
  async (kind) => {
    const draw = async (pauses: boolean) => {
      const written: string[] = [];
      const progress = await openProgress(kind, { write: (chunk) => written.push(String(chunk)) }, {});
      for (const [index, event] of [...smallBuild, ...smallBuildEnd].entries()) {
        if (pauses && index === 2) {
          progress.pause();
        }
        const before = written.length;
        progress.event(event);
        if (pauses && index >= 2) {
          expect(written).toHaveLength(before);
        }
      }
      progress.resume();
      progress.close();
      return written.join('');
    };
    expect(await draw(true)).toBe(await draw(false));
  },
);

test('a picture is not drawn over what was written while it was paused', () => {
  const screen = new Screen(80, 30);
  const ticker = new ManualTicker(1000);
  const progress = ttyProgress(screen, ticker, { color: false });
  for (const event of smallBuild) {
    progress.event(event);
  }
  progress.pause();
  const paused = screen.text();
  ticker.advance(1000);
  expect(screen.text()).toBe(paused);
  screen.write('$ exit\n');
  progress.resume();
  for (const event of smallBuildEnd) {
    progress.event(event);
  }
  progress.close();
  expect(screen.text().startsWith(`${paused}\n$ exit\n`)).toBe(true);
  expect(screen.text()).toContain('FINISHED');
});

test('what is held back is bounded', () => {
  const written: string[] = [];
  const held = new HeldOutput({ write: (chunk) => written.push(String(chunk)) });
  held.hold();
  for (let index = 0; index < 3000; index += 1) {
    held.write(`${String(index).padEnd(999)}\n`);
  }
  held.release();
  expect(written[0]).toMatch(/^\.\.\. \d+ earlier lines/);
  expect(written.at(-1)).toContain('2999');
  expect(written.length).toBeLessThan(300);
});
