/** Images of the store, their names, and what registry tags pointed to when they were last asked. */
import { DefinitionError } from '../errors.ts';
import { type Digest, isDigest, parseDigest } from '../oci/digest.ts';
import type { ImageConfig } from '../oci/image-config.ts';
import type { LayerId } from '../solver/op.ts';
import type { MetaDb } from './meta-db.ts';

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
  readonly layers: readonly { readonly id: string; readonly method: string; readonly durationMs: number }[];
}

export class ImageRecords {
  readonly #meta: MetaDb;

  constructor(meta: MetaDb) {
    this.#meta = meta;
  }

  put(record: Omit<ImageRecord, 'createdMs'>): void {
    const now = this.#meta.now();
    this.#meta.db
      .prepare(
        `INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
         manifest_digest = excluded.manifest_digest, config_digest = excluded.config_digest, platform = excluded.platform,
         layers = excluded.layers, config = excluded.config, build = excluded.build, used_ms = excluded.used_ms`,
      )
      .run(
        record.id,
        record.manifestDigest,
        record.configDigest,
        record.platform,
        JSON.stringify(record.layers),
        JSON.stringify(record.config),
        JSON.stringify(record.build),
        now,
        now,
      );
  }

  get(id: string): ImageRecord | undefined {
    const row = this.#meta.db
      .prepare('UPDATE images SET used_ms = ? WHERE id = ? RETURNING *')
      .get(this.#meta.now(), id);
    return row === undefined ? undefined : fromRow(row);
  }

  /**
   * By name, id, unambiguous beginning of an id (at least 6 characters), or manifest digest.
   *
   * @throws {DefinitionError} `E_IMAGE_NOT_FOUND`.
   */
  find(text: string): ImageRecord {
    const { db } = this.#meta;
    const byName = db.prepare('SELECT image FROM names WHERE name = ?').get(text);
    const direct = this.get(byName === undefined ? text : String(byName.image));
    if (direct !== undefined) {
      return direct;
    }
    const digestText = /^[a-f0-9]{6,64}$/.test(text) ? `sha256:${text}` : text;
    const candidates =
      text.length < 6
        ? []
        : db
            .prepare(
              `SELECT id FROM images WHERE substr(id, 1, length(?1)) = ?1 OR substr(manifest_digest, 1, length(?2)) = ?2
               ORDER BY created_ms DESC LIMIT 2`,
            )
            .all(text, digestText);
    const only = candidates.length === 1 || isDigest(digestText) ? candidates[0] : undefined;
    const found = only === undefined ? undefined : this.get(String(only.id));
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

  list(): readonly (ImageRecord & { readonly names: readonly string[] })[] {
    const names = new Map<string, string[]>();
    for (const row of this.#meta.db.prepare('SELECT name, image FROM names ORDER BY name').all()) {
      const image = String(row.image);
      names.set(image, [...(names.get(image) ?? []), String(row.name)]);
    }
    return this.#meta.db
      .prepare('SELECT * FROM images ORDER BY created_ms DESC, id')
      .all()
      .map((row) => ({ ...fromRow(row), names: names.get(String(row.id)) ?? [] }));
  }

  setName(name: string, id: string): void {
    this.#meta.db.prepare('INSERT OR REPLACE INTO names VALUES (?, ?, ?)').run(name, id, this.#meta.now());
  }

  hasName(name: string): boolean {
    return this.#meta.db.prepare('SELECT 1 FROM names WHERE name = ?').get(name) !== undefined;
  }

  /** @returns Whether there was such a name. */
  removeName(name: string): boolean {
    return this.#meta.db.prepare('DELETE FROM names WHERE name = ?').run(name).changes > 0;
  }

  remove(id: string): void {
    this.#meta.db.prepare('DELETE FROM images WHERE id = ?').run(id);
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
