/** What is wrong with a record; whoever knows where it is from says that. */
export class CsvFieldsError extends Error {
  /** The part of the record that is wrong. */
  readonly culprit: string;

  constructor(message: string, culprit: string) {
    super(message);
    this.culprit = culprit;
  }
}

/**
 * One record of RFC 4180: `type=oci,"dest=a,b.tar"`. A quote counts at the start of a field, and `""` within is a quote.
 *
 * @throws {CsvFieldsError}
 */
export function csvFields(text: string): string[] {
  const fields: string[] = [];
  let position = 0;
  for (;;) {
    if (text[position] === '"') {
      const [field, end] = quotedField(text, position + 1);
      fields.push(field);
      position = end;
    } else {
      const comma = text.indexOf(',', position);
      const end = comma < 0 ? text.length : comma;
      const field = text.slice(position, end);
      if (field.includes('"')) {
        throw new CsvFieldsError(`a quote within '${field}': put quotes around the whole field`, field);
      }
      fields.push(field);
      position = end;
    }
    if (position >= text.length) {
      return fields;
    }
    if (text[position] !== ',') {
      throw new CsvFieldsError(`'${text.slice(position)}' follows a closing quote`, text.slice(position));
    }
    position += 1;
  }
}

function quotedField(text: string, start: number): [field: string, end: number] {
  let field = '';
  let position = start;
  for (;;) {
    const quote = text.indexOf('"', position);
    if (quote < 0) {
      throw new CsvFieldsError(`a quote is not closed in '${text}'`, text.slice(start - 1));
    }
    field += text.slice(position, quote);
    if (text[quote + 1] !== '"') {
      return [field, quote + 1];
    }
    field += '"';
    position = quote + 2;
  }
}
