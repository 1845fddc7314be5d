/** Verifies clear-signed release files (`InRelease`) against the archive's public keys. */
import { readdir, readFile } from 'node:fs/promises';
import { HostError, IntegrityError } from '../errors.ts';
import { packagePath } from '../native/package-path.ts';

/** Public keys, each an armored or binary OpenPGP file. */
export type Keyring = readonly Uint8Array[];

/** The archive keys that come with tsbuild: data/debian-archive-keyring. */
export async function archiveKeyring(
  directory: string = packagePath('data/debian-archive-keyring'),
): Promise<Keyring> {
  try {
    const names = (await readdir(directory)).filter((name) => /\.(asc|pgp|gpg)$/.test(name)).sort();
    return await Promise.all(names.map((name) => readFile(`${directory}/${name}`)));
  } catch (cause) {
    throw new HostError(`cannot read the archive keyring in '${directory}'`, {
      code: 'E_IO',
      path: directory,
      cause,
    });
  }
}

/**
 * The signed text, when at least one key of the keyring made a good signature over it.
 *
 * One suffices: a release file carries the signatures of the outgoing and of the incoming key of the archive.
 *
 * @param nowSeconds - Signatures from later than this, and keys that had expired when they signed, do not count.
 * @throws {IntegrityError} `E_SIGNATURE`.
 */
export async function verifyClearSigned(
  file: string,
  keyring: Keyring,
  options: { readonly nowSeconds: number; readonly source: string },
): Promise<string> {
  const { source } = options;
  // Large, and needed only when a release file was not verified before.
  const openpgp = await import('openpgp');
  let message: Awaited<ReturnType<typeof openpgp.readCleartextMessage>>;
  try {
    message = await openpgp.readCleartextMessage({ cleartextMessage: file });
  } catch (cause) {
    throw new IntegrityError(`'${source}' is not a signed release file`, {
      code: 'E_SIGNATURE',
      source,
      cause,
      hint: 'a proxy or captive portal may have answered in place of the mirror',
    });
  }
  const wanted = new Set(message.getSigningKeyIDs().map((id) => id.toHex()));
  const keys = (await Promise.all(keyring.map((bytes) => readKeys(openpgp, bytes, source)))).flat();
  // Only the keys that are named are handed on: unknown ones cost nothing then.
  const candidates = keys.filter((key) => key.getKeyIDs().some((id) => wanted.has(id.toHex())));
  const problems: string[] = [];
  if (candidates.length > 0) {
    const { signatures } = await openpgp.verify({
      message,
      verificationKeys: candidates,
      date: new Date(options.nowSeconds * 1000),
    });
    for (const signature of signatures) {
      try {
        await signature.verified;
        return message.getText();
      } catch (error) {
        problems.push(
          `${signature.keyID.toHex()}: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  }
  throw new IntegrityError(
    candidates.length === 0
      ? `'${source}' is signed by no key of the archive keyring`
      : `'${source}' has no good signature: ${problems.join('; ').slice(0, 500)}`,
    {
      code: 'E_SIGNATURE',
      expected: 'a good signature by a key of the archive keyring',
      actual: [...wanted].join(' '),
      source,
    },
  );
}

async function readKeys(openpgp: typeof import('openpgp'), bytes: Uint8Array, source: string) {
  const armored = Buffer.from(bytes.buffer, bytes.byteOffset, 5).toString('latin1') === '-----';
  try {
    return armored
      ? await openpgp.readKeys({ armoredKeys: Buffer.from(bytes).toString('utf8') })
      : await openpgp.readKeys({ binaryKeys: bytes });
  } catch (cause) {
    throw new IntegrityError(`a key to verify '${source}' with cannot be read`, {
      code: 'E_SIGNATURE',
      source,
      cause,
    });
  }
}
