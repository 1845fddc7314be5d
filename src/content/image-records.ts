/** Images of the store, their names, and what registry tags pointed to when they were last asked. */
import { DefinitionError } from '../errors.ts';
import { type Digest, isDigest, parseDigest } from '../oci/digest.ts';
import type { ImageConfig } from '../oci/image-config.ts';
import type { LayerId } from '../solver/op.ts';
import type { MetaDb } from './meta-db.ts';
import { UsedRows } from './used-rows.ts';

export interface ImageRecord {
  /** `im-` and 22 base-62 characters for what we built, the manifest digest for what was pulled. */
  readonly id: string;
  readonly manifestDigest: Digest;
  readonly configDigest: Digest;
  /** `linux/amd64`. */
  readonly platform: string;
  readonly layers: readonly LayerId[];
  readonly config: ImageConfig;
  /** What `BuiltImage.layers` and `.diagnostics` said when it was built. */
  readonly build: BuildFacts;
  readonly createdMs: number;
}

export interface BuildFacts {
  /** Of the definition. Absent: pulled, or built before recipes were kept. */
  readonly recipe?: string;
  readonly layers: readonly { readonly id: string; readonly method: string; readonly durationMs: number }[];
}

/** Images of one definition for several platforms. */
export interface IndexRecord {
  /** The digest of the index. */
  readonly id: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** As the index lists them. */
  readonly images: readonly IndexedImage[];
  readonly createdMs: number;
}

/** An image as an index has it. Its record may have got another manifest since, with other blobs or annotations. */
export interface IndexedImage {
  readonly id: string;
  readonly manifestDigest: Digest;
  readonly configDigest: Digest;
}

/** Whether a record is that of an index. */
export function isIndexRecord(record: ImageRecord | IndexRecord): record is IndexRecord {
  return 'images' in record;
}

export class ImageRecords {
  readonly #meta: MetaDb;
  readonly #images: UsedRows;
  readonly #indexes: UsedRows;

  constructor(meta: MetaDb) {
    this.#meta = meta;
    this.#images = new UsedRows(meta, 'images', 'id = ?');
    this.#indexes = new UsedRows(meta, 'indexes', 'id = ?');
  }

  /** What is there already is not written again. */
  put(record: Omit<ImageRecord, 'createdMs'>): void {
    const { id, manifestDigest, configDigest, platform } = record;
    const layers = JSON.stringify(record.layers);
    const config = JSON.stringify(record.config);
    const build = JSON.stringify(record.build);
    const row = this.#images.get(id);
    if (
      row?.manifest_digest === manifestDigest &&
      row.config_digest === configDigest &&
      row.platform === platform &&
      row.layers === layers &&
      row.config === config &&
      row.build === build
    ) {
      return;
    }
    const now = this.#meta.now();
    this.#meta.db
      .prepare(
        `INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
         manifest_digest = excluded.manifest_digest, config_digest = excluded.config_digest, platform = excluded.platform,
         layers = excluded.layers, config = excluded.config, build = excluded.build, used_ms = excluded.used_ms`,
      )
      .run(id, manifestDigest, configDigest, platform, layers, config, build, now, now);
  }

  get(id: string): ImageRecord | undefined {
    const row = this.#images.get(id);
    return row === undefined ? undefined : fromRow(row);
  }

  /** As {@link get}, without counting as a use. */
  peek(id: string): ImageRecord | undefined {
    const row = this.#meta.db.prepare('SELECT * FROM images WHERE id = ?').get(id);
    return row === undefined ? undefined : fromRow(row);
  }

  /** Its images must be there. Putting an index again changes nothing but when it was used. */
  putIndex(record: Omit<IndexRecord, 'createdMs'>): void {
    const { db } = this.#meta;
    const now = this.#meta.now();
    this.#meta.transaction(() => {
      db.prepare(
        'INSERT INTO indexes VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET used_ms = excluded.used_ms',
      ).run(record.id, record.mediaType, record.sizeBytes, now, now);
      for (const [position, { id, manifestDigest, configDigest }] of record.images.entries()) {
        db.prepare('INSERT OR REPLACE INTO index_images VALUES (?, ?, ?, ?, ?)').run(
          record.id,
          position,
          id,
          manifestDigest,
          configDigest,
        );
      }
    });
  }

  /** @param id - The digest of the index. */
  getIndex(id: string): IndexRecord | undefined {
    const row = this.#indexes.get(id);
    return row === undefined ? undefined : this.#indexOf(row);
  }

  #indexOf(row: Record<string, unknown>): IndexRecord {
    const id = parseDigest(row.id);
    const images = this.#meta.db
      .prepare('SELECT * FROM index_images WHERE image_index = ? ORDER BY position')
      .all(id)
      .map((each) => ({
        id: String(each.image),
        manifestDigest: parseDigest(each.manifest_digest),
        configDigest: parseDigest(each.config_digest),
      }));
    return {
      id,
      mediaType: String(row.media_type),
      sizeBytes: Number(row.size_bytes),
      images,
      createdMs: Number(row.created_ms),
    };
  }

  /**
   * By name, id, unambiguous beginning of an id (at least 6 characters), or digest of the manifest or index.
   *
   * @throws {DefinitionError} `E_IMAGE_NOT_FOUND`.
   */
  find(text: string): ImageRecord | IndexRecord {
    const { db } = this.#meta;
    const byName = db
      .prepare('SELECT coalesce(image, image_index) AS id FROM names WHERE name = ?')
      .get(text);
    const direct = this.#byId(byName === undefined ? text : String(byName.id));
    if (direct !== undefined) {
      return direct;
    }
    const digestText = /^[a-f0-9]{6,64}$/.test(text) ? `sha256:${text}` : text;
    const candidates =
      text.length < 6
        ? []
        : db
            .prepare(
              `SELECT id, created_ms FROM images
               WHERE substr(id, 1, length(?1)) = ?1 OR substr(manifest_digest, 1, length(?2)) = ?2
               UNION ALL SELECT id, created_ms FROM indexes WHERE substr(id, 1, length(?2)) = ?2
               ORDER BY created_ms DESC LIMIT 2`,
            )
            .all(text, digestText);
    const only = candidates.length === 1 || isDigest(digestText) ? candidates[0] : undefined;
    const found = only === undefined ? undefined : this.#byId(String(only.id));
    if (found === undefined) {
      throw new DefinitionError(
        candidates.length > 1
          ? `'${text}' stands for more than one image`
          : `no image '${text}' in the store`,
        { code: 'E_IMAGE_NOT_FOUND', hint: '`tsbuild image list` shows what there is' },
      );
    }
    return found;
  }

  #byId(id: string): ImageRecord | IndexRecord | undefined {
    return this.get(id) ?? this.getIndex(id);
  }

  list(): readonly (ImageRecord & { readonly names: readonly string[] })[] {
    const names = this.#names('image');
    return this.#meta.db
      .prepare('SELECT * FROM images ORDER BY created_ms DESC, id')
      .all()
      .map((row) => ({ ...fromRow(row), names: names.get(String(row.id)) ?? [] }));
  }

  listIndexes(): readonly (IndexRecord & { readonly names: readonly string[] })[] {
    const names = this.#names('image_index');
    return this.#meta.db
      .prepare('SELECT * FROM indexes ORDER BY created_ms DESC, id')
      .all()
      .map((row) => ({ ...this.#indexOf(row), names: names.get(String(row.id)) ?? [] }));
  }

  #names(of: 'image' | 'image_index'): ReadonlyMap<string, string[]> {
    const names = new Map<string, string[]>();
    for (const row of this.#meta.db
      .prepare(`SELECT name, ${of} AS id FROM names WHERE ${of} IS NOT NULL ORDER BY name`)
      .all()) {
      const id = String(row.id);
      names.set(id, [...(names.get(id) ?? []), String(row.name)]);
    }
    return names;
  }

  /** @param id - Of an image or an index. */
  setName(name: string, id: string): void {
    const { db } = this.#meta;
    const isIndex = db.prepare('SELECT 1 FROM indexes WHERE id = ?').get(id) !== undefined;
    db.prepare('INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)').run(
      name,
      isIndex ? null : id,
      isIndex ? id : null,
      this.#meta.now(),
    );
  }

  hasName(name: string): boolean {
    return this.#meta.db.prepare('SELECT 1 FROM names WHERE name = ?').get(name) !== undefined;
  }

  /** @returns Whether there was such a name. */
  removeName(name: string): boolean {
    return this.#meta.db.prepare('DELETE FROM names WHERE name = ?').run(name).changes > 0;
  }

  /** An image that an index lists stays until the index goes. */
  remove(id: string): void {
    this.#meta.db.prepare('DELETE FROM images WHERE id = ?').run(id);
  }

  /** Removes an index, and those of its images that have no name and are in no other index. @returns Their ids. */
  removeIndex(id: string): readonly string[] {
    const { db } = this.#meta;
    return this.#meta.transaction(() => {
      const images = db.prepare('SELECT DISTINCT image FROM index_images WHERE image_index = ?').all(id);
      db.prepare('DELETE FROM indexes WHERE id = ?').run(id);
      return images
        .map((row) => String(row.image))
        .filter((image) => {
          const needed = `SELECT 1 FROM names WHERE image = ?1 UNION ALL SELECT 1 FROM published WHERE image = ?1
             UNION ALL SELECT 1 FROM index_images WHERE image = ?1`;
          const free = db.prepare(needed).get(image) === undefined;
          if (free) {
            this.remove(image);
          }
          return free;
        });
    });
  }

  /** Indexes that list the image. */
  indexesOf(image: string): readonly Digest[] {
    return this.#meta.db
      .prepare('SELECT DISTINCT image_index FROM index_images WHERE image = ?')
      .all(image)
      .map((row) => parseDigest(row.image_index));
  }

  /** What a tag pointed to when it was last resolved. */
  resolution(reference: string, platform: string): Digest | undefined {
    const row = this.#meta.db
      .prepare('SELECT manifest_digest FROM resolutions WHERE reference = ? AND platform = ?')
      .get(reference, platform);
    return row === undefined ? undefined : parseDigest(row.manifest_digest);
  }

  /** Manifests that references were resolved to. */
  resolved(): readonly Digest[] {
    return this.#meta.db
      .prepare('SELECT DISTINCT manifest_digest FROM resolutions')
      .all()
      .map((row) => parseDigest(row.manifest_digest));
  }

  putResolution(reference: string, platform: string, manifestDigest: Digest): void {
    this.#meta.db
      .prepare('INSERT OR REPLACE INTO resolutions VALUES (?, ?, ?, ?)')
      .run(reference, platform, manifestDigest, this.#meta.now());
  }
}

function fromRow(row: Record<string, unknown>): ImageRecord {
  return {
    id: String(row.id),
    manifestDigest: parseDigest(row.manifest_digest),
    configDigest: parseDigest(row.config_digest),
    platform: String(row.platform),
    layers: JSON.parse(String(row.layers)) as LayerId[],
    config: JSON.parse(String(row.config)) as ImageConfig,
    build: JSON.parse(String(row.build)) as BuildFacts,
    createdMs: Number(row.created_ms),
  };
}
