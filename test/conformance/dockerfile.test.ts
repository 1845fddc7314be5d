/**
 * Every case means to us what it means to other builders: to BuildKit, live where `BUILDKIT_HOST` names a daemon and as
 * recorded elsewhere, and to Debian's buildah in what that old builder knows.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { buildah } from './builders/buildah.ts';
import type { Builder } from './builders/builder.ts';
import { buildkit, hasBuildkit } from './builders/buildkit.ts';
import { tsbuild } from './builders/tsbuild.ts';
import { type Case, readCases } from './case.ts';
import { differences, isDecided, type Result } from './differences.ts';
import { readRecord } from './record.ts';
import { makeSurroundings, type Surroundings } from './surroundings.ts';

const CASES = readCases();
const byName = CASES.map((item) => ({ name: `${item.name}: ${item.does ?? ''}`, item }));
const live = hasBuildkit();

/** Decisions that cover nothing: what they were made for is no longer so. */
function idleDecisions({ decisions = [] }: Case, recorded: Result, made: Result): string[] {
  const subjects = differences(recorded, made).map(({ subject }) => subject);
  return decisions
    .filter(({ about }) => !subjects.some((subject) => new RegExp(about).test(subject)))
    .map(({ id, about }) => `${id}: ${about}`);
}

/** Every difference that no decision covers, as a person reads it. */
function openDifferences(item: Case, left: Result, right: Result, peer: Builder | string): string[] {
  const name = typeof peer === 'string' ? peer : peer.name;
  const silentAbout = typeof peer === 'string' ? undefined : peer.silentAbout;
  return differences(left, right)
    .filter(({ subject }) => silentAbout?.test(subject) !== true)
    .filter((difference) => !isDecided(item, difference, [name, 'tsbuild']))
    .map((one) => `${one.subject}\n  ${name}: ${one.left}\n  tsbuild: ${one.right}`);
}

describe.skipIf(lacks('root', 'busybox', 'bwrap', 'runc'))('tsbuild and BuildKit', () => {
  let surroundings: Surroundings;
  let ours: Builder;
  let theirs: Builder | undefined;

  beforeAll(async () => {
    surroundings = await makeSurroundings(CASES);
    ours = tsbuild();
    theirs = live ? buildkit() : undefined;
  });
  afterAll(async () => {
    await ours[Symbol.asyncDispose]();
    await surroundings[Symbol.asyncDispose]();
  });

  test.concurrent.for(byName)('$name', async ({ item }) => {
    const made = await surroundings.build(ours, item);
    const recorded = readRecord(item).result;
    expect(openDifferences(item, recorded, made, 'buildkit')).toEqual([]);
    expect(idleDecisions(item, recorded, made)).toEqual([]);
    if (theirs !== undefined) {
      // One more time: a record must not be older than what it stands for.
      expect(differences(await surroundings.build(theirs, item), recorded)).toEqual([]);
    }
  });
});

describe.skipIf(lacks('root', 'busybox', 'bwrap', 'buildah', 'skopeo'))('tsbuild and buildah', () => {
  const asked = byName.filter(({ item }) => item.buildahAgrees === true);
  let surroundings: Surroundings;
  let builders: readonly [Builder, Builder];

  beforeAll(async () => {
    surroundings = await makeSurroundings(asked.map(({ item }) => item));
    builders = [tsbuild(), buildah()];
  });
  afterAll(async () => {
    await Promise.all(builders.map((builder) => builder[Symbol.asyncDispose]()));
    await surroundings[Symbol.asyncDispose]();
  });

  test('there are cases that both know', () => {
    expect(asked.length).toBeGreaterThan(20);
  });

  test.for(asked)('$name', async ({ item }) => {
    const [ours, theirs] = builders;
    const [made, other] = await Promise.all([
      surroundings.build(ours, item),
      surroundings.build(theirs, item),
    ]);
    expect(openDifferences(item, other, made, theirs)).toEqual([]);
  });
});
