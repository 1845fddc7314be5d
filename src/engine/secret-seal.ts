/**
 * Values of a stored secret under a key: AES-256-GCM, the key derived from the user's words with scrypt and a salt of its own for
 * each file. What the seal is for (format, environment, name) is authenticated with it, so that no file can pass for another.
 * The format is in docs/reference/store.md.
 */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import { canonicalJson } from '../base/canonical-json.ts';

export interface Seal {
  readonly algorithm: 'aes-256-gcm';
  readonly kdf: 'scrypt';
  /** scrypt's N, r and p (RFC 7914). */
  readonly cost: number;
  readonly blockSize: number;
  readonly parallelization: number;
  /** These in base64. */
  readonly salt: string;
  readonly nonce: string;
  readonly tag: string;
  readonly data: string;
}

/** What a seal is bound to. */
export interface SealedFor {
  readonly version: number;
  readonly environment: string;
  readonly name: string;
}

/** 32 MiB and about a tenth of a second: a guess costs as much. */
const COST = 2 ** 15;
const BLOCK_SIZE = 8;
/** A file that asks for more is not ours. */
const MAX_COST = 2 ** 17;
const MAX_MEMORY_BYTES = 256 * BLOCK_SIZE * MAX_COST;
const KEY_BYTES = 32;
const SALT_BYTES = 16;
/** SP 800-38D, 5.2.1.1. */
const NONCE_BYTES = 12;

export async function seal(
  values: Readonly<Record<string, string>>,
  words: string,
  use: SealedFor,
): Promise<Seal> {
  const salt = randomBytes(SALT_BYTES);
  const nonce = randomBytes(NONCE_BYTES);
  const parameters = { cost: COST, blockSize: BLOCK_SIZE, parallelization: 1 };
  const cipher = createCipheriv('aes-256-gcm', await derive(words, salt, parameters), nonce);
  cipher.setAAD(authenticated(use));
  const data = Buffer.concat([cipher.update(JSON.stringify(values), 'utf8'), cipher.final()]);
  return {
    algorithm: 'aes-256-gcm',
    kdf: 'scrypt',
    ...parameters,
    salt: salt.toString('base64'),
    nonce: nonce.toString('base64'),
    tag: cipher.getAuthTag().toString('base64'),
    data: data.toString('base64'),
  };
}

/** @throws when the key is another one, or anything was changed; which of them it was nobody can tell. */
export async function unseal(sealed: Seal, words: string, use: SealedFor): Promise<unknown> {
  const { algorithm, kdf, cost, blockSize, parallelization } = sealed;
  if (
    algorithm !== 'aes-256-gcm' ||
    kdf !== 'scrypt' ||
    !(cost <= MAX_COST && blockSize === BLOCK_SIZE && parallelization === 1)
  ) {
    throw new Error('it is sealed in a way that this tsbuild does not know');
  }
  const [salt, nonce, tag, data] = [sealed.salt, sealed.nonce, sealed.tag, sealed.data].map((text) =>
    Buffer.from(text, 'base64'),
  ) as [Buffer, Buffer, Buffer, Buffer];
  const key = await derive(words, salt, { cost, blockSize, parallelization });
  const cipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 });
  cipher.setAAD(authenticated(use));
  cipher.setAuthTag(tag);
  return JSON.parse(Buffer.concat([cipher.update(data), cipher.final()]).toString('utf8'));
}

function authenticated({ version, environment, name }: SealedFor): Buffer {
  return Buffer.from(canonicalJson({ version, environment, name }), 'utf8');
}

function derive(
  words: string,
  salt: Buffer,
  { cost, blockSize, parallelization }: Pick<Seal, 'cost' | 'blockSize' | 'parallelization'>,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(
      words,
      salt,
      KEY_BYTES,
      { N: cost, r: blockSize, p: parallelization, maxmem: MAX_MEMORY_BYTES },
      (error, key) => (error === null ? resolve(key) : reject(error)),
    );
  });
}
