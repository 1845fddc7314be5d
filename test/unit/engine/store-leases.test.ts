import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { USED_PRECISION_MS } from '../../../src/content/used-rows.ts';
import { Store } from '../../../src/engine/store.ts';
import { native } from '../../../src/native/addon.ts';
import { WORK_PREFIX } from '../../../src/snapshot/snapshot-store.ts';
import { temporaryStore } from '../../support/temporary-store.ts';
import { temporaryTree } from '../../support/temporary-tree.ts';

const engines = (store: Store) => readdirSync(join(store.dir, 'engines')).length;

/** Another process that opens the store, leaves a file in its scratch directory, and is killed. */
async function killedEngine(dir: string): Promise<string> {
  const source = new URL('../../../src/engine/store.ts', import.meta.url).href;
  const script = `
    import { writeFileSync } from 'node:fs';
    import { Store } from ${JSON.stringify(source)};
    const store = Store.open(${JSON.stringify(dir)}, () => 5);
    const path = store.scratchFile('left');
    writeFileSync(path, 'left');
    process.stdout.write(path);
    setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [path] = (await once(child.stdout, 'data')) as [Buffer];
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  await closed;
  return path.toString();
}

describe('Store', () => {
  it('is registered while it is open', () => {
    using temporary = temporaryStore();
    const { store } = temporary;
    expect(store.oldestOtherEngineMs()).toBe(Number.POSITIVE_INFINITY);
    const other = temporary.openOther();
    expect(engines(store)).toBe(2);
    other[Symbol.dispose]();
    expect(engines(store)).toBe(1);
    expect(store.oldestOtherEngineMs()).toBe(Number.POSITIVE_INFINITY);
  });

  it('knows when the oldest of the others began', () => {
    using temporary = temporaryStore();
    const { store, clock } = temporary;
    clock.advance(1000);
    const before = clock.now();
    temporary.openOther();
    const between = clock.now();
    clock.advance(1000);
    const third = temporary.openOther();
    expect(store.oldestOtherEngineMs() + USED_PRECISION_MS).toBeGreaterThan(before);
    expect(store.oldestOtherEngineMs() + USED_PRECISION_MS).toBeLessThan(between);
    // To the third the first is the oldest.
    expect(third.oldestOtherEngineMs() + USED_PRECISION_MS).toBeLessThan(before);
  });

  it('sweeps what a killed engine left, and nothing of those that live', async () => {
    using temporary = temporaryStore();
    const { store } = temporary;
    const other = temporary.openOther();
    const kept = other.scratchFile('kept');
    writeFileSync(kept, 'kept');
    const left = await killedEngine(store.dir);
    expect(existsSync(left)).toBe(true);
    expect(engines(store)).toBe(3);
    expect(await store.sweep()).toBe(false);
    expect(existsSync(left)).toBe(false);
    expect(existsSync(kept)).toBe(true);
    expect(engines(store)).toBe(2);
  });

  it('a killed engine holds nothing back', async () => {
    using temporary = temporaryStore();
    await killedEngine(temporary.store.dir);
    expect(temporary.store.oldestOtherEngineMs()).toBe(Number.POSITIVE_INFINITY);
    expect(engines(temporary.store)).toBe(1);
  });

  it('says when a worker has to remove what is left', async () => {
    using temporary = temporaryStore();
    const { store } = temporary;
    const directory = join(store.dir, 'tmp', `${WORK_PREFIX}x`);
    const lock = native().tryLock(`${directory}.lock`, false);
    mkdirSync(directory);
    expect(await store.sweep()).toBe(false);
    await killedEngine(store.dir);
    // It belongs to one that lives.
    expect(await store.sweep()).toBe(false);
    lock?.release();
    // Although no engine died.
    expect(await store.sweep()).toBe(true);
  });

  it('takes its scratch files along', () => {
    using temporary = temporaryStore();
    const other = temporary.openOther();
    const path = other.scratchFile('x');
    writeFileSync(path, '');
    expect(other.scratchDir('x')).toBe(path);
    expect(temporary.store.scratchDir('x')).not.toBe(path);
    other[Symbol.dispose]();
    expect(existsSync(path)).toBe(false);
  });

  it('names the directory that it cannot make', async () => {
    await using tree = await temporaryTree({ file: '' });
    expect(() => Store.open(join(tree.path, 'file/store'), Date.now)).toThrow(
      expect.objectContaining({ code: 'E_IO', path: join(tree.path, 'file/store') }),
    );
  });
});
