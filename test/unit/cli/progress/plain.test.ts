import { describe, expect, it } from 'vitest';
import { jsonProgress } from '../../../../src/cli/progress/json.ts';
import { plainProgress } from '../../../../src/cli/progress/plain.ts';
import { APT, at, BASE, smallBuild, smallBuildEnd, smallPlan, startMs } from '../../../support/events.ts';
import { digestOf } from '../../../support/fake-engine.ts';
import { ManualTicker } from '../../../support/manual-ticker.ts';

function drawn(): { stream: { write(text: string | Uint8Array): void }; text(): string } {
  let text = '';
  return {
    stream: {
      write: (chunk) => {
        text += String(chunk);
      },
    },
    text: () => text,
  };
}

describe('plain progress', () => {
  it('tells a build in lines', async () => {
    const { stream, text } = drawn();
    const ticker = new ManualTicker(startMs);
    const progress = plainProgress(stream, ticker);
    for (const event of smallBuild) {
      progress.event(event);
    }
    ticker.advance(3000);
    for (const event of smallBuildEnd) {
      progress.event(event);
    }
    progress.event(
      at(3200, {
        kind: 'progress',
        id: 'up',
        activity: 'upload',
        subject: 'sha256:4444',
        doneBytes: 5_000_000,
        totalBytes: 5_000_000,
        state: 'running',
      }),
    );
    progress.event(
      at(4200, {
        kind: 'progress',
        id: 'up',
        activity: 'upload',
        subject: 'sha256:4444',
        doneBytes: 5_000_000,
        totalBytes: 5_000_000,
        state: 'done',
      }),
    );
    progress.event(
      at(4300, { kind: 'output', type: 'registry', destination: 'r.example/web:1', digest: digestOf('4') }),
    );
    progress.close();
    await expect(text()).toMatchFileSnapshot('../../../golden/cli/progress-plain.txt');
    expect(ticker.running).toBe(0);
  });

  it('says that a quiet step is alive', () => {
    const { stream, text } = drawn();
    const ticker = new ManualTicker(startMs);
    const progress = plainProgress(stream, ticker);
    progress.event(smallPlan);
    progress.event(at(0, { kind: 'vertex-started', vertex: APT }));
    ticker.advance(12_000);
    expect(text()).toBe('#2 [2/3] aptInstall git\n');
    ticker.advance(3000);
    expect(text()).toContain('#2 ... still running after 15.0s\n');
    const before = text().length;
    ticker.advance(12_000);
    expect(text()).toHaveLength(before);
    progress.close();
  });

  it('sums up many pieces of work in a line for each activity', () => {
    const { stream, text } = drawn();
    const ticker = new ManualTicker(startMs);
    const progress = plainProgress(stream, ticker);
    progress.event(smallPlan);
    progress.event(at(0, { kind: 'vertex-started', vertex: BASE }));
    for (let index = 0; index < 200; index += 1) {
      progress.event(
        at(index, {
          kind: 'progress',
          vertex: BASE,
          id: `deb-${index}`,
          activity: 'download',
          subject: `package-${index}.deb`,
          doneBytes: index < 50 ? 1_000_000 : 0,
          totalBytes: 1_000_000,
          state: index < 50 ? 'done' : 'running',
        }),
      );
    }
    ticker.advance(3000);
    expect(text().trim().split('\n').at(-1)).toBe('#1 download 50/200 50.0MB / 200.0MB 3.0s');
    progress.close();
  });

  it('neutralises what steps and labels say', () => {
    const { stream, text } = drawn();
    const progress = plainProgress(stream, new ManualTicker(startMs));
    progress.event(
      at(0, { kind: 'plan', vertices: [{ digest: BASE, label: 'evil\u001b[2J\nlabel', inputs: [] }] }),
    );
    progress.event(at(0, { kind: 'vertex-started', vertex: BASE }));
    progress.event(
      at(1, { kind: 'log', vertex: BASE, stream: 'stdout', text: '\u001b]0;x\u0007\u001b[Hhi\u009b2J' }),
    );
    progress.close();
    expect(text()).toBe('#1 evil^Jlabel\n#1 0.001 hi\n\n');
  });
});

describe('json progress', () => {
  it('writes one event on each line, with nothing that a terminal acts on', () => {
    const { stream, text } = drawn();
    const progress = jsonProgress(stream);
    const events = [
      ...smallBuild,
      at(9, { kind: 'log', vertex: APT, stream: 'stdout', text: 'a\u009b2J\u001bc\n\u2028' }),
    ];
    for (const event of events) {
      progress.event(event);
    }
    const lines = text().trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual(events);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there.
    expect(text().replaceAll('\n', '')).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
  });
});
