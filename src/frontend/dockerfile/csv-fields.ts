/** One record of comma-separated values. Source: RFC 4180, section 2. */
import { flagError } from './definition-place.ts';

/**
 * @param what - Whose value it is, for messages.
 * @throws {DefinitionError} `E_DOCKERFILE_FLAG` for quotes in the wrong place.
 */
export function csvFields(record: string, what: string): readonly string[] {
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    const [field, end] = record[at] === '"' ? quotedField(record, at, what) : plainField(record, at, what);
    fields.push(field);
    if (end >= record.length) {
      return fields;
    }
    at = end + 1;
  }
}

function plainField(record: string, start: number, what: string): [field: string, end: number] {
  const comma = record.indexOf(',', start);
  const end = comma < 0 ? record.length : comma;
  const field = record.slice(start, end);
  if (field.includes('"')) {
    throw flagError(`a quote stands inside of '${field}' of ${what}`, {
      hint: 'put quotes around the whole field, the name included, and double those inside',
      culprit: field,
    });
  }
  return [field, end];
}

function quotedField(record: string, start: number, what: string): [field: string, end: number] {
  const parts: string[] = [];
  for (let at = start + 1; ; ) {
    const quote = record.indexOf('"', at);
    if (quote < 0) {
      throw flagError(`a quote of ${what} has no partner`, { culprit: record.slice(start) });
    }
    parts.push(record.slice(at, quote));
    const after = record[quote + 1];
    if (after === '"') {
      parts.push('"');
      at = quote + 2;
    } else if (after === ',' || after === undefined) {
      return [parts.join(''), quote + 1];
    } else {
      throw flagError(`a comma is expected behind a quoted field of ${what}`, {
        culprit: record.slice(start, quote + 2),
      });
    }
  }
}
