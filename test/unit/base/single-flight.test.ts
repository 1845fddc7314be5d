import { describe, expect, it } from 'vitest';
import { SingleFlight } from '../../../src/base/single-flight.ts';

const forever = new AbortController().signal;

/** Work that ends when the test says so, counted. */
function work() {
  const begun: PromiseWithResolvers<string>[] = [];
  return {
    begun,
    begin: () => {
      const one = Promise.withResolvers<string>();
      begun.push(one);
      return one.promise;
    },
  };
}

describe('SingleFlight', () => {
  it('does at once what is wanted at once, and again what is wanted later', async () => {
    const flight = new SingleFlight<string, string>();
    const { begun, begin } = work();
    const both = [flight.run('k', forever, begin), flight.run('k', forever, begin)];
    expect(begun).toHaveLength(1);
    begun[0]?.resolve('done');
    expect(await Promise.all(both)).toEqual(['done', 'done']);
    const later = flight.run('k', forever, begin);
    expect(begun).toHaveLength(2);
    begun[1]?.resolve('again');
    expect(await later).toBe('again');
  });

  it('keeps keys apart', async () => {
    const flight = new SingleFlight<string, string>();
    const { begun, begin } = work();
    const both = [flight.run('a', forever, begin), flight.run('b', forever, begin)];
    begun[1]?.resolve('b');
    begun[0]?.resolve('a');
    expect(await Promise.all(both)).toEqual(['a', 'b']);
  });

  it('all get a failure, and it is not remembered', async () => {
    const flight = new SingleFlight<string, string>();
    const { begun, begin } = work();
    const failure = new Error('no');
    const both = [flight.run('k', forever, begin), flight.run('k', forever, begin)];
    begun[0]?.reject(failure);
    expect(await Promise.allSettled(both)).toEqual([
      { status: 'rejected', reason: failure },
      { status: 'rejected', reason: failure },
    ]);
    expect(begun).toHaveLength(1);
    const again = flight.run('k', forever, begin);
    begun[1]?.resolve('well');
    expect(await again).toBe('well');
  });

  it('who joined work that another one cancelled begins it again, once for all who joined', async () => {
    const flight = new SingleFlight<string, string>();
    const { begun, begin } = work();
    const first = new AbortController();
    const began = flight.run('k', first.signal, begin);
    const joined = [flight.run('k', forever, begin), flight.run('k', forever, begin)];
    first.abort(new Error('enough'));
    begun[0]?.reject(first.signal.reason);
    await expect(began).rejects.toBe(first.signal.reason);
    await expect.poll(() => begun.length).toBe(2);
    begun[1]?.resolve('done');
    expect(await Promise.all(joined)).toEqual(['done', 'done']);
    expect(begun).toHaveLength(2);
  });

  it('who is cancelled too does not begin again', async () => {
    const flight = new SingleFlight<string, string>();
    const { begun, begin } = work();
    const all = new AbortController();
    const both = [flight.run('k', all.signal, begin), flight.run('k', all.signal, begin)];
    all.abort(new Error('enough'));
    begun[0]?.reject(all.signal.reason);
    for (const outcome of await Promise.allSettled(both)) {
      expect(outcome).toEqual({ status: 'rejected', reason: all.signal.reason });
    }
    expect(begun).toHaveLength(1);
  });

  it('a joiner that is cancelled alone still ends, and leaves the work to the others', async () => {
    const flight = new SingleFlight<string, string>();
    const { begun, begin } = work();
    const own = new AbortController();
    const began = flight.run('k', forever, begin);
    const joined = flight.run('k', own.signal, begin);
    const outcome = joined.catch((error: unknown) => error);
    own.abort(new Error('enough'));
    expect(await outcome).toBe(own.signal.reason);
    begun[0]?.resolve('done');
    expect(await began).toBe('done');
    expect(begun).toHaveLength(1);
  });
});
