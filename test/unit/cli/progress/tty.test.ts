import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { frame } from '../../../../src/cli/progress/frame.ts';
import { ProgressModel } from '../../../../src/cli/progress/model.ts';
import { automatic, wantsColor } from '../../../../src/cli/progress/open.ts';
import { ttyProgress } from '../../../../src/cli/progress/tty.ts';
import { displayWidth } from '../../../../src/cli/terminal-text.ts';
import { APT, at, BASE, smallBuild, smallBuildEnd, smallPlan, startMs } from '../../../support/events.ts';
import { digestOf } from '../../../support/fake-engine.ts';
import { ManualTicker } from '../../../support/manual-ticker.ts';
import { Screen } from '../../../support/screen.ts';

function show(columns: number, rows: number) {
  const screen = new Screen(columns, rows);
  const ticker = new ManualTicker(startMs);
  const progress = ttyProgress(screen, ticker, { color: true });
  return { screen, ticker, progress };
}

describe('progress on a terminal', () => {
  it.each([80, 40, 20])('draws a build over itself at %d columns', async (columns) => {
    const { screen, ticker, progress } = show(columns, 24);
    for (const event of smallBuild) {
      progress.event(event);
    }
    ticker.advance(2000);
    const during = screen.text();
    for (const event of smallBuildEnd) {
      progress.event(event);
    }
    ticker.advance(1000);
    progress.close();
    progress.close();
    expect(screen.unknown).toBe(0);
    expect(screen.cursorVisible).toBe(true);
    expect(screen.listeners).toBe(0);
    expect(ticker.running).toBe(0);
    await expect(`${during}\n=== at the end ===\n${screen.text()}\n`).toMatchFileSnapshot(
      `../../../golden/cli/progress-tty-${columns}.txt`,
    );
  });

  it('stays within the height while it runs, and shows everything at the end', () => {
    const { screen, ticker, progress } = show(60, 8);
    const vertices = Array.from({ length: 30 }, (_, index) => ({
      digest: `${digestOf('0').slice(0, -2)}${String(index).padStart(2, '0')}` as typeof BASE,
      label: `step ${index}`,
      inputs: [],
    }));
    progress.event(at(0, { kind: 'plan', vertices }));
    for (const { digest } of vertices) {
      progress.event(at(10, { kind: 'vertex-started', vertex: digest }));
      for (let line = 0; line < 20; line += 1) {
        progress.event(at(10, { kind: 'log', vertex: digest, stream: 'stdout', text: `line ${line}` }));
      }
      ticker.advance(100);
      expect(screen.text().split('\n').length).toBeLessThanOrEqual(7);
      expect(screen.text()).toContain(vertices.find((vertex) => vertex.digest === digest)?.label);
      progress.event(at(20, { kind: 'vertex-finished', vertex: digest, outcome: 'done', durationMs: 10 }));
    }
    progress.close();
    const lines = screen.text().split('\n');
    expect(lines[0]).toMatch(/^\[\+\] Building 3\.0s \(30\/30\) FINISHED/);
    expect(lines.slice(1).map((line) => line.replace(/ +0\.0s$/, ''))).toEqual(
      vertices.map(({ label }) => ` => ${label}`),
    );
  });

  it('leaves nothing behind when the terminal becomes narrower or wider', () => {
    const { screen, ticker, progress } = show(80, 24);
    for (const event of smallBuild) {
      progress.event(event);
    }
    for (const columns of [80, 33, 20, 61, 25, 100]) {
      screen.resize(columns, 24);
      ticker.advance(300);
      expect(screen.text().match(/Building/g)).toHaveLength(1);
      expect(screen.text().match(/CACHED/g)).toHaveLength(1);
    }
    progress.close();
  });

  it('keeps warnings above the picture', () => {
    const { screen, ticker, progress } = show(80, 24);
    progress.event(smallPlan);
    progress.event(at(0, { kind: 'vertex-started', vertex: APT }));
    ticker.advance(200);
    progress.event(at(300, { kind: 'warning', code: 'W_X', message: 'mind\u001b[2J the gap' }));
    ticker.advance(200);
    progress.close();
    expect(screen.text().split('\n')[0]).toBe('WARNING: mind the gap (W_X)');
    expect(screen.text().match(/WARNING/g)).toHaveLength(1);
  });

  it('rests when everything is built: what follows is the container that runs', () => {
    const { screen, ticker, progress } = show(80, 24);
    progress.event(
      at(0, { kind: 'plan', vertices: [{ digest: BASE, label: 'base', inputs: [], layer: 0 }] }),
    );
    progress.event(at(0, { kind: 'vertex-finished', vertex: BASE, outcome: 'cached', durationMs: 0 }));
    progress.event(at(200, { kind: 'built', durationMs: 200 }));
    ticker.advance(300);
    const drawn = screen.text();
    expect(drawn).toContain('Building 0.2s (1/1) FINISHED');
    let writes = 0;
    const { write } = screen;
    screen.write = (chunk) => {
      writes += 1;
      write.call(screen, chunk);
    };
    ticker.advance(5000);
    expect(writes).toBe(0);
    progress.close();
    expect(screen.text()).toBe(drawn);
  });

  it('draws nothing when nothing happened', () => {
    const { screen, ticker, progress } = show(80, 24);
    ticker.advance(500);
    progress.close();
    expect(screen.text()).toBe('');
  });

  it('never draws a line that the terminal would wrap', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 120 }),
        fc.integer({ min: 2, max: 30 }),
        fc.string({ unit: 'grapheme' }),
        fc.string({ unit: 'grapheme' }),
        (columns, rows, label, line) => {
          const model = new ProgressModel();
          model.apply(at(0, { kind: 'plan', vertices: [{ digest: BASE, label, inputs: [], layer: 0 }] }));
          model.apply(at(0, { kind: 'vertex-started', vertex: BASE }));
          model.apply(at(5, { kind: 'log', vertex: BASE, stream: 'stderr', text: line }));
          const lines = frame(model, {
            size: { columns, rows },
            nowMs: startMs + 99,
            color: false,
            final: false,
          });
          expect(lines.length).toBeLessThan(Math.max(rows, 2));
          for (const drawn of lines) {
            expect(displayWidth(drawn)).toBeLessThan(columns);
          }
        },
      ),
    );
  });
});

describe('the kind of progress', () => {
  it('is live on a terminal that can move its cursor', () => {
    const terminal = { write: () => true, isTTY: true };
    expect(automatic(terminal, { TERM: 'xterm' })).toBe('tty');
    expect(automatic(terminal, { TERM: 'dumb' })).toBe('plain');
    expect(automatic({ write: () => true }, { TERM: 'xterm' })).toBe('plain');
    expect(wantsColor(terminal, { TERM: 'xterm' })).toBe(true);
    expect(wantsColor(terminal, { NO_COLOR: '1' })).toBe(false);
    expect(wantsColor(terminal, { NO_COLOR: '' })).toBe(true);
  });
});

describe('the model', () => {
  it('takes the rate from the last seconds', async () => {
    const { rate } = await import('../../../../src/cli/progress/model.ts');
    const model = new ProgressModel();
    for (let second = 0; second <= 20; second += 1) {
      model.apply(
        at(second * 1000, {
          kind: 'progress',
          id: 'x',
          activity: 'download',
          subject: 's',
          doneBytes: second < 10 ? 0 : (second - 10) * 1000,
          state: 'running',
        }),
      );
    }
    const work = model.outputWorks.get('x');
    expect(work && rate(work, startMs + 20_000)).toBe(1000);
    expect(work?.samples.length).toBeLessThan(10);
  });
});
