import { expect, test } from 'vitest';
import { ROOT_OWNER } from '../../../src/graph/action.ts';
import { decodeGraph, encodeGraph } from '../../../src/graph/encode.ts';
import { firstOutput, topologicalOrder, vertex } from '../../../src/graph/vertex.ts';

const platform = { os: 'linux', architecture: 'amd64' };
const scratch = () => vertex({ kind: 'scratch' }, [], { platform, label: 'scratch' });
const mkdir = (path: string, label = path) =>
  vertex(
    { kind: 'build', actions: [{ kind: 'mkdir', path, mode: 0o755, owner: ROOT_OWNER }] },
    [firstOutput(scratch())],
    { platform, label },
  );

test('equal work has equal digests; labels, origins and force do not count', () => {
  expect(mkdir('/a', 'one').digest).toBe(mkdir('/a', 'two').digest);
  expect(mkdir('/a').digest).not.toBe(mkdir('/b').digest);
});

test('platform, operation and inputs count', () => {
  const one = vertex({ kind: 'scratch' }, [], { platform, label: '' });
  const other = vertex({ kind: 'scratch' }, [], {
    platform: { os: 'linux', architecture: 'arm64' },
    label: '',
  });
  expect(one.digest).not.toBe(other.digest);
  const on = (input: typeof one) =>
    vertex({ kind: 'build', actions: [] }, [firstOutput(input)], { platform, label: '' }).digest;
  expect(on(one)).not.toBe(on(other));
});

test('vertices are frozen all the way down', () => {
  const made = mkdir('/a');
  expect(Object.isFrozen(made)).toBe(true);
  expect(made.operation.kind === 'build' && Object.isFrozen(made.operation.actions[0])).toBe(true);
});

test('inputs come before those who read them, each once', () => {
  const base = scratch();
  const left = mkdir('/left');
  const right = mkdir('/right');
  expect(topologicalOrder([left, right]).map((each) => each.label)).toEqual(['scratch', '/left', '/right']);
  expect(base.digest).toBe(left.inputs[0]?.vertex.digest);
});

test('a graph survives encoding', () => {
  const tips = [mkdir('/left'), mkdir('/right')];
  const decoded = decodeGraph(encodeGraph(tips));
  expect(decoded).toEqual(tips);
});

test('a graph that was tampered with is refused', () => {
  const text = encodeGraph([mkdir('/left')]).replace('"/left","mode"', '"/etc","mode"');
  expect(() => decodeGraph(text)).toThrow(/vertex changed/);
});
