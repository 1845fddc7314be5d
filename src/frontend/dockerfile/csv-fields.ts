/** Values of flags that are records of comma-separated fields. */
import { CsvFieldsError, csvFields as fieldsOf } from '../../base/csv-fields.ts';
import { flagError } from './definition-place.ts';

/**
 * @param what - Whose value it is, for messages.
 * @throws {DefinitionError} `E_DOCKERFILE_FLAG` for quotes in the wrong place.
 */
export function csvFields(record: string, what: string): readonly string[] {
  try {
    return fieldsOf(record);
  } catch (error) {
    throw error instanceof CsvFieldsError
      ? flagError(`${what}: ${error.message}`, { culprit: error.culprit })
      : error;
  }
}
