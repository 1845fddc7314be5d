import { createCleartextMessage, generateKey, readPrivateKey, reformatKey, sign } from 'openpgp';
import { beforeAll, describe, expect, it } from 'vitest';
import { archiveKeyring, verifyClearSigned } from '../../../src/debian/signature.ts';

const TEXT = 'Suite: stable\nCodename: trixie\n- dashes are escaped\n';
const NOW = Math.floor(Date.UTC(2026, 0, 10) / 1000);
const DAY = 86_400;
const at = (seconds: number) => new Date(seconds * 1000);

interface Key {
  readonly publicKey: Uint8Array;
  /** The same key, as if it had been valid for ten days only. */
  readonly expired: Uint8Array;
  readonly sign: (text: string, seconds: number) => Promise<string>;
}

async function key(): Promise<Key> {
  const userIDs = [{ name: 'Archive', email: 'archive@example.org' }];
  const date = at(NOW - 30 * DAY);
  const made = await generateKey({ type: 'ecc', userIDs, date, format: 'armored' });
  const privateKey = await readPrivateKey({ armoredKey: made.privateKey });
  const short = await reformatKey({
    privateKey,
    userIDs,
    date,
    keyExpirationTime: 10 * DAY,
    format: 'armored',
  });
  return {
    publicKey: Buffer.from(made.publicKey),
    expired: Buffer.from(short.publicKey),
    sign: async (text, seconds) =>
      sign({
        message: await createCleartextMessage({ text }),
        signingKeys: privateKey,
        date: at(seconds),
      }),
  };
}

const options = { nowSeconds: NOW, source: 'http://mirror/InRelease' };
const refused = expect.objectContaining({ code: 'E_SIGNATURE', exitStatus: 5 });

describe('verifyClearSigned', () => {
  let ours: Key;
  let theirs: Key;
  beforeAll(async () => {
    [ours, theirs] = await Promise.all([key(), key()]);
  });

  it('gives the text that was signed, not what stands around it', async () => {
    const file = `Suite: evil\n\n${await ours.sign(TEXT, NOW - DAY)}\nSuite: evil\n`;
    const text = await verifyClearSigned(file, [theirs.publicKey, ours.publicKey], options).catch(() => '');
    expect(text).not.toContain('evil');
    expect(await verifyClearSigned(await ours.sign(TEXT, NOW - DAY), [ours.publicKey], options)).toBe(TEXT);
  });

  it('refuses a text that was changed', async () => {
    const file = (await ours.sign(TEXT, NOW - DAY)).replace('trixie', 'trixiE');
    await expect(verifyClearSigned(file, [ours.publicKey], options)).rejects.toThrow(refused);
  });

  it('refuses a key that it does not know', async () => {
    const file = await theirs.sign(TEXT, NOW - DAY);
    await expect(verifyClearSigned(file, [ours.publicKey], options)).rejects.toThrow(refused);
    await expect(verifyClearSigned(file, [], options)).rejects.toThrow(refused);
  });

  it('refuses a signature from the future', async () => {
    const file = await ours.sign(TEXT, NOW + 2 * DAY);
    await expect(verifyClearSigned(file, [ours.publicKey], options)).rejects.toThrow(refused);
  });

  it('refuses a key that had expired when it signed, and takes one that expired since', async () => {
    const before = await ours.sign(TEXT, NOW - 25 * DAY);
    expect(await verifyClearSigned(before, [ours.expired], options)).toBe(TEXT);
    const after = await ours.sign(TEXT, NOW - DAY);
    await expect(verifyClearSigned(after, [ours.expired], options)).rejects.toThrow(refused);
  });

  it.each(['', '<html>captive portal</html>', 'Suite: stable\n'])(
    'refuses what is not signed: %j',
    async (file) => {
      await expect(verifyClearSigned(file, [ours.publicKey], options)).rejects.toThrow(refused);
    },
  );
});

describe('archiveKeyring', () => {
  it('has the keys of three releases', async () => {
    expect((await archiveKeyring()).length).toBeGreaterThanOrEqual(9);
  });

  it('says which directory it cannot read', async () => {
    await expect(archiveKeyring('/does/not/exist')).rejects.toThrow(
      expect.objectContaining({ code: 'E_IO' }),
    );
  });
});
