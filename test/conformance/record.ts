/** What a builder made of a case once, kept beside it, so that its verdict is there where the builder is not. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Case } from './case.ts';
import type { Result } from './differences.ts';

export interface CaseRecord {
  /** Name and version of the builder. */
  readonly builder: string;
  readonly result: Result;
}

export function readRecord(item: Case): CaseRecord {
  return JSON.parse(readFileSync(pathOf(item), 'utf8')) as CaseRecord;
}

export function writeRecord(item: Case, builder: string, result: Result): void {
  // Messages are each builder's own.
  const kept = 'refused' in result ? { refused: '' } : result;
  writeFileSync(pathOf(item), `${JSON.stringify({ builder, result: kept }, undefined, 2)}\n`);
}

function pathOf({ directory }: Case): string {
  return join(directory, 'expected.json');
}
