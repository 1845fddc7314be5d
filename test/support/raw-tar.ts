/** Tar archives byte by byte, so that they can say what no honest program writes. */

export interface RawEntry {
  readonly name: string | Buffer;
  /** @defaultValue '0' */
  readonly type?: string;
  readonly link?: string;
  readonly content?: string | Buffer;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly device?: readonly [number, number];
  /** @defaultValue 0 */
  readonly mtimeSeconds?: number;
  /** Instead of the content's size; eleven octal digits, or twelve bytes. */
  readonly size?: string | Buffer;
  /** PAX records, written before the entry. */
  readonly pax?: Readonly<Record<string, string | Buffer>>;
}

const BLOCK = 512;

export function rawTar(entries: readonly RawEntry[], end: Buffer = Buffer.alloc(2 * BLOCK)): Buffer {
  return Buffer.concat([...entries.flatMap(blocksOf), end]);
}

function blocksOf(entry: RawEntry): Buffer[] {
  const before =
    entry.pax === undefined ? [] : [rawBlocks({ name: 'pax', type: 'x', content: records(entry.pax) })];
  return [...before, rawBlocks(entry)];
}

function records(pax: Readonly<Record<string, string | Buffer>>): Buffer {
  return Buffer.concat(
    Object.entries(pax).map(([key, value]) => {
      const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
      let length = body.length + 1;
      while (String(length).length + body.length !== length) {
        length += 1;
      }
      return Buffer.concat([Buffer.from(String(length)), body]);
    }),
  );
}

function rawBlocks(entry: RawEntry): Buffer {
  const content = Buffer.from(entry.content ?? '');
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) =>
    header.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
  header.set(Buffer.from(entry.name).subarray(0, 100), 0);
  octal(entry.mode ?? 0o644, 100, 8);
  octal(entry.uid ?? 0, 108, 8);
  octal(entry.gid ?? 0, 116, 8);
  if (entry.size === undefined) {
    octal(content.length, 124, 12);
  } else {
    header.set(Buffer.from(entry.size).subarray(0, 12), 124);
  }
  octal(entry.mtimeSeconds ?? 0, 136, 12);
  header.write(entry.type ?? '0', 156, 'latin1');
  header.write(entry.link ?? '', 157, 100, 'utf8');
  header.write('ustar\u000000', 257, 'latin1');
  octal(entry.device?.[0] ?? 0, 329, 8);
  octal(entry.device?.[1] ?? 0, 337, 8);
  header.fill(' ', 148, 156);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0`,
    148,
    'latin1',
  );
  return Buffer.concat([header, content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)]);
}
