/** Our errors as data, and back. */
import {
  DefinitionError,
  HostError,
  IntegrityError,
  InternalError,
  RemoteError,
  StepError,
  TsbuildError,
  UsageError,
} from '../errors.ts';
import type { WireError } from './protocol.ts';

// biome-ignore lint/suspicious/noExplicitAny: each class takes the details that it gave.
const CLASSES: ReadonlyMap<string, new (message: string, details: any) => TsbuildError> = new Map(
  Object.entries({
    StepError,
    DefinitionError,
    UsageError,
    HostError,
    RemoteError,
    IntegrityError,
    InternalError,
  }),
);
const OWN_FIELDS = new Set(['name', 'message', 'stack', 'cause', 'code', 'exitStatus']);

export function toWire(error: unknown): WireError {
  if (error instanceof TsbuildError) {
    const details = Object.fromEntries(
      Object.entries(error).filter(([name, value]) => !OWN_FIELDS.has(name) && value !== undefined),
    );
    return { class: error.name, message: error.message, code: error.code, details };
  }
  const { message, code } = (error ?? {}) as NodeJS.ErrnoException;
  if (
    typeof code === 'string' &&
    code.startsWith('E') &&
    (error as NodeJS.ErrnoException).syscall !== undefined
  ) {
    const { path, syscall } = error as NodeJS.ErrnoException;
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    return {
      class: 'HostError',
      message,
      code: full ? 'E_DISK_FULL' : 'E_IO',
      details: { errno: code, syscall, ...(path === undefined ? {} : { path }) },
    };
  }
  const stack = error instanceof Error ? error.stack : undefined;
  return {
    class: 'InternalError',
    message: stack ?? String(message ?? error),
    code: 'E_INTERNAL',
    details: {},
  };
}

export function cancelledWire(): WireError {
  return { class: 'Cancelled', message: 'cancelled', code: 'CANCELLED', details: {} };
}

export function fromWire(wire: WireError): Error {
  const Class = CLASSES.get(wire.class);
  if (Class === undefined || wire.code === 'CANCELLED') {
    return new InternalError(wire.message);
  }
  return new Class(wire.message, { ...wire.details, code: wire.code });
}
