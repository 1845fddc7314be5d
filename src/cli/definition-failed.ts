import { DefinitionError } from '../errors.ts';

/** A definition that cannot be loaded, in the words of whoever found out. */
export function failed(message: string, cause: unknown, hint?: string): DefinitionError {
  return new DefinitionError(message, { code: 'E_DEFINITION_LOAD', cause, hint });
}
