/** Errors of the native helper, which cross as data, become ours here and nowhere else. */
import {
  DefinitionError,
  type ErrorCode,
  HostError,
  IntegrityError,
  InternalError,
  TsbuildError,
  UsageError,
} from '../errors.ts';

interface NativeFailure {
  readonly code: string;
  readonly errno: string | null;
  readonly path: string | null;
  readonly message: string;
}

/** Whether a native call ended because its token was cancelled; the caller then throws `signal.reason`. */
export function isCancelled(error: unknown): boolean {
  return parse(error)?.code === 'CANCELLED';
}

/**
 * The error to throw for a rejected native call.
 *
 * @param doing - What was going on, such as `cannot unpack layer sha256:…`; the message begins with it.
 * @returns One of our classes with the native error as cause. What is not from the native helper, or is ours already,
 * comes back as it is.
 */
export function fromNative(error: unknown, doing: string): Error {
  if (error instanceof TsbuildError) {
    return error;
  }
  const failure = parse(error);
  if (failure === undefined) {
    return error instanceof Error ? error : new InternalError(`${doing}: ${String(error)}`);
  }
  const message = `${doing}: ${failure.message}`;
  const cause = error;
  const path = failure.path ?? undefined;
  const integrity = (code: ErrorCode) =>
    new IntegrityError(message, { code, cause, source: path, ...digestsIn(failure.message) });
  const definition = (code: ErrorCode) => new DefinitionError(message, { code, cause });
  switch (failure.code) {
    case 'BAD_ARCHIVE':
      return integrity('E_BAD_ARCHIVE');
    case 'ARCHIVE_LIMIT':
      return integrity('E_ARCHIVE_LIMIT');
    case 'DAMAGED_OWNERS':
      return new IntegrityError(message, {
        code: 'E_SNAPSHOT_DAMAGED',
        cause,
        source: path,
        hint: 'remove that layer with `tsbuild prune --all`, and build again',
      });
    case 'DIGEST_MISMATCH':
      return integrity('E_DIGEST_MISMATCH');
    case 'LAYER_UNREPRESENTABLE':
      return definition('E_LAYER_UNREPRESENTABLE');
    case 'FILE_CONFLICT':
      return definition('E_PACKAGE_CONFLICT');
    // What a step or a base put where the definition needs something else.
    case 'IS_A_DIRECTORY':
    case 'NOT_A_DIRECTORY':
      return definition('E_PATH_BLOCKED');
    case 'OUTPUT_CONFLICT':
      return definition('E_OUTPUT_CONFLICT');
    case 'OUTPUT_EXISTS':
      return new UsageError(message, {
        code: 'E_OUTPUT_EXISTS',
        cause,
        hint: 'remove what is in the way, or name another destination',
      });
    case 'TOO_MANY_LAYERS':
      return new DefinitionError(message, {
        code: 'E_TOO_MANY_LAYERS',
        cause,
        hint: 'join steps, or set TSBUILD_SNAPSHOT=copy, which has no such limit',
      });
    case 'TOO_LARGE':
      return definition('E_FILE_TOO_LARGE');
    case 'SOURCE_CHANGED':
      return definition('E_FILE_CHANGED_DURING_BUILD');
    case 'NEEDS_IDS':
      return new HostError(message, {
        code: 'E_SUBUID_MISSING',
        errno: failure.errno ?? undefined,
        path,
        cause,
        hint: 'give the user subordinate ids, and enough of them: `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$USER"`',
      });
    case 'IO': {
      const full = failure.errno === 'ENOSPC' || failure.errno === 'EDQUOT';
      return new HostError(message, {
        code: full ? 'E_DISK_FULL' : 'E_IO',
        errno: failure.errno ?? undefined,
        path,
        cause,
        hint: full ? 'free some space, or run `tsbuild prune`' : undefined,
      });
    }
    default:
      return new InternalError(message, { cause });
  }
}

/** `binding/src/error.rs` puts one JSON text into the message. */
function parse(error: unknown): NativeFailure | undefined {
  if (!(error instanceof Error) || !error.message.startsWith('{"code":')) {
    return undefined;
  }
  try {
    return JSON.parse(error.message) as NativeFailure;
  } catch {
    return undefined;
  }
}

function digestsIn(message: string): { expected?: string; actual?: string } {
  const match = /has digest (sha256:[0-9a-f]{64}), expected (\S+)$/.exec(message);
  return match?.[1] !== undefined && match[2] !== undefined ? { actual: match[1], expected: match[2] } : {};
}
