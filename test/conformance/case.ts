/** One folder of `cases/`: a Dockerfile, what it needs, and what came of it when it was recorded. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Leaf, Tree } from './tree.ts';

const CASES = join(import.meta.dirname, 'cases');

/** Why builders may differ. The page is docs/reference/dockerfile.md. */
export interface Decision {
  /** Of the decision on the page. */
  readonly id: string;
  /** The difference is allowed where its left or right side is this builder. */
  readonly builder: string;
  /** A regular expression for subjects of differences, such as `^/a/b$` or `^config Env$`. */
  readonly about: string;
}

/** `case.json`; every member may be missing. */
interface Said {
  readonly does?: string;
  readonly context?: Tree;
  /** Where the Dockerfile lies in the context. @defaultValue `Dockerfile` */
  readonly file?: string;
  readonly target?: string;
  readonly platform?: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Id → value. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** An agent is forwarded as `default`. */
  readonly ssh?: boolean;
  /** Name → files of a local context, or the name of a base. */
  readonly contexts?: Readonly<Record<string, Tree | string>>;
  /** Entitlements. */
  readonly allow?: readonly string[];
  /** Served as `http://$SERVER/PATH`; the build arg `SERVER` is given then. */
  readonly serve?: Readonly<Record<string, Leaf>>;
  /** Name of a repository → its commits, served as `http://$SERVER/NAME`. */
  readonly git?: Readonly<Record<string, readonly Commit[]>>;
  /** The times of directories are compared too. */
  readonly directoryTimes?: boolean;
  readonly decisions?: readonly Decision[];
  /** Builder → why it is not asked: what it lacks, or where it is known to differ. */
  readonly notFor?: Readonly<Record<string, string>>;
  /** Of the cases that the tests also put to Debian's buildah. */
  readonly buildahAgrees?: boolean;
}

export interface Commit {
  readonly files: Tree;
  readonly tag?: string;
  readonly branch?: string;
}

export interface Case extends Said {
  readonly name: string;
  readonly directory: string;
  readonly dockerfile: string;
  readonly file: string;
  readonly context: Tree;
}

/** All of them in order, or those whose names contain one of `filters`. */
export function readCases(filters: readonly string[] = []): readonly Case[] {
  return readdirSync(CASES)
    .sort()
    .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
    .map(readCase);
}

function readCase(name: string): Case {
  const directory = join(CASES, name);
  const path = join(directory, 'case.json');
  const said = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Said) : {};
  return {
    ...said,
    name,
    directory,
    dockerfile: readFileSync(join(directory, 'Dockerfile'), 'utf8'),
    file: said.file ?? 'Dockerfile',
    context: said.context ?? {},
  };
}
