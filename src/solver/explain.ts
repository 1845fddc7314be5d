/** Why a step could not be reused: which field, or which file, differs from the last time the same step ran. */
import { canonicalJson, type Json } from '../base/canonical-json.ts';
import { betweenEqualEnds } from '../base/listing.ts';
import type { CacheMiss, FieldDifference } from './event.ts';
import type { CacheRecord, KeyField } from './op.ts';

/** Values longer than this are cut in explanations. */
const SHOWN_CHARACTERS = 200;
/** A tree of which everything changed is not listed file by file. */
const SHOWN_DIFFERENCES = 50;

export interface MissFacts {
  readonly forced: boolean;
  readonly everHad: boolean;
  readonly last: CacheRecord | undefined;
  readonly fields: readonly KeyField[];
  readonly inputs: readonly string[];
  readonly inputLabels: readonly string[];
}

export function explainMiss(facts: MissFacts): CacheMiss {
  if (facts.forced) {
    return { reason: 'forced', differences: [] };
  }
  if (facts.everHad) {
    return { reason: 'gone', differences: [] };
  }
  if (facts.last === undefined) {
    return { reason: 'new', differences: [] };
  }
  const differences = compareFields(facts.last.fields, facts.fields);
  if (differences.length > 0) {
    return { reason: 'changed', differences };
  }
  const { last } = facts;
  return {
    reason: 'input',
    differences: facts.inputs.flatMap((input, index) =>
      input === last.inputs[index] ? [] : [{ field: `input '${facts.inputLabels[index] ?? index}'` }],
    ),
  };
}

export function compareFields(before: readonly KeyField[], after: readonly KeyField[]): FieldDifference[] {
  const differences: FieldDifference[] = [];
  const old = new Map(before.map((field) => [field.name, field.value]));
  for (const { name, value } of after) {
    collect(name, old.get(name), value, differences);
    old.delete(name);
  }
  for (const [name, value] of old) {
    collect(name, value, undefined, differences);
  }
  return differences.slice(0, SHOWN_DIFFERENCES);
}

function collect(
  name: string,
  before: Json | undefined,
  after: Json | undefined,
  into: FieldDifference[],
): void {
  if (into.length >= SHOWN_DIFFERENCES || before === after) {
    return;
  }
  if (isListing(before) && isListing(after)) {
    const changed = betweenEqualEnds(before.listing, after.listing);
    collect(name, changed.before, changed.after, into);
    return;
  }
  if (isRecord(before) && isRecord(after)) {
    for (const key of Object.keys(before)) {
      if (before[key] !== after[key]) {
        collect(`${name} ${key}`, before[key], after[key], into);
      }
    }
    for (const key of Object.keys(after)) {
      if (!Object.hasOwn(before, key)) {
        collect(`${name} ${key}`, undefined, after[key], into);
      }
    }
    return;
  }
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length) {
    for (const [index, value] of after.entries()) {
      collect(`${name}[${index}]`, before[index], value, into);
    }
    return;
  }
  if (canonicalJson(before ?? null) === canonicalJson(after ?? null)) {
    return;
  }
  into.push({
    field: name,
    ...(before === undefined ? {} : { before: shown(before) }),
    ...(after === undefined ? {} : { after: shown(after) }),
  });
}

function isListing(value: Json | undefined): value is { readonly listing: string } {
  return isRecord(value) && Object.keys(value).length === 1 && typeof value.listing === 'string';
}

function isRecord(value: Json | undefined): value is { readonly [key: string]: Json } {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function shown(value: Json): string {
  const text = typeof value === 'string' ? value : canonicalJson(value);
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}
