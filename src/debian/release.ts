/** The Release file of a suite: what the archive signs, and through it everything else. */
import { IntegrityError } from '../errors.ts';

export interface ReleaseFile {
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface Release {
  readonly suite: string;
  readonly codename: string;
  readonly architectures: readonly string[];
  readonly components: readonly string[];
  /** `Date`, seconds since the epoch. */
  readonly dateSeconds: number;
  /** `Valid-Until`, where the suite has one: unstable and the security and updates suites do, stable does not. */
  readonly validUntilSeconds?: number;
  readonly acquireByHash: boolean;
  /** By path relative to the Release file. */
  readonly files: ReadonlyMap<string, ReleaseFile>;
}

const FILE_LINE = /^ ([0-9a-f]{64})\s+(\d{1,15})\s+(\S+)$/;

/**
 * Parses the text that was signed (never the file around it).
 *
 * @throws {IntegrityError} `E_BAD_ARCHIVE` when a field that we rely on is missing or malformed.
 */
export function parseRelease(text: string): Release {
  const fields = new Map<string, string>();
  const files = new Map<string, ReleaseFile>();
  let current = '';
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith(' ') || line.startsWith('\t')) {
      const match = current === 'sha256' ? FILE_LINE.exec(line) : null;
      if (match?.[1] !== undefined && match[3] !== undefined) {
        files.set(match[3], { path: match[3], sha256: match[1], sizeBytes: Number(match[2]) });
      }
      continue;
    }
    const colon = line.indexOf(':');
    if (colon > 0) {
      current = line.slice(0, colon).toLowerCase();
      fields.set(current, line.slice(colon + 1).trim());
    }
  }
  const words = (name: string) => (fields.get(name) ?? '').split(/\s+/).filter((word) => word !== '');
  const validUntil = fields.get('valid-until');
  return {
    suite: required(fields, 'suite'),
    codename: required(fields, 'codename'),
    architectures: words('architectures'),
    // The security archive once wrote `updates/main`.
    components: words('components').map((component) => component.slice(component.lastIndexOf('/') + 1)),
    dateSeconds: parseDate(required(fields, 'date')),
    ...(validUntil === undefined ? {} : { validUntilSeconds: parseDate(validUntil) }),
    acquireByHash: fields.get('acquire-by-hash') === 'yes',
    files,
  };
}

/** Clocks differ; a release from further in the future than this is refused. apt allows ten seconds. */
const CLOCK_SKEW_SECONDS = 300;

export interface ReleaseExpectation {
  readonly suite: string;
  readonly nowSeconds: number;
  /** A snapshot is out of date by intention. */
  readonly snapshot: boolean;
  /** Where the file came from, for the message. */
  readonly source: string;
}

/**
 * A good signature on the wrong file is an attack too: the release of another suite, or one from long ago.
 *
 * @throws {IntegrityError} `E_SIGNATURE`.
 */
export function checkRelease(release: Release, expected: ReleaseExpectation): void {
  const { suite, nowSeconds, snapshot, source } = expected;
  if (release.suite !== suite && release.codename !== suite) {
    throw new IntegrityError(
      `the release file of '${suite}' is for the suite '${release.suite}' (${release.codename})`,
      { code: 'E_SIGNATURE', expected: suite, actual: release.suite, source },
    );
  }
  if (release.dateSeconds > nowSeconds + CLOCK_SKEW_SECONDS) {
    throw new IntegrityError(`the release file of '${suite}' is from the future`, {
      code: 'E_SIGNATURE',
      expected: `not after ${iso(nowSeconds)}`,
      actual: iso(release.dateSeconds),
      source,
      hint: 'check the clock of this machine',
    });
  }
  const until = release.validUntilSeconds;
  if (!snapshot && until !== undefined && until < nowSeconds) {
    throw new IntegrityError(`the release file of '${suite}' has expired`, {
      code: 'E_SIGNATURE',
      expected: `valid until after ${iso(nowSeconds)}`,
      actual: iso(until),
      source,
      hint: 'the mirror is out of date, or somebody replays an old state of it; check the clock of this machine',
    });
  }
}

function required(fields: ReadonlyMap<string, string>, name: string): string {
  const value = fields.get(name);
  if (value === undefined || value === '') {
    throw new IntegrityError(`the release file has no field '${name}'`, { code: 'E_BAD_ARCHIVE' });
  }
  return value;
}

function parseDate(text: string): number {
  // RFC 2822 in UTC; apt accepts nothing else either.
  const time = /(UTC|GMT|\+0000)$/.test(text) ? Date.parse(text.replace(/UTC$/, 'GMT')) : Number.NaN;
  if (Number.isNaN(time)) {
    throw new IntegrityError(`the release file has a malformed date '${text.slice(0, 60)}'`, {
      code: 'E_BAD_ARCHIVE',
    });
  }
  return Math.floor(time / 1000);
}

function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
