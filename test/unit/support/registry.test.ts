/** The registry of the tests must be as strict as real ones, or it proves nothing. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sha256, TestRegistry } from '../../support/registry.ts';

let registry: TestRegistry;
beforeAll(async () => {
  registry = await TestRegistry.start();
});
afterAll(() => registry.close());

const open = async () =>
  (await fetch(`${registry.origin}/v2/a/blobs/uploads/`, { method: 'POST' })).headers.get('location') ?? '';

it('refuses a blob of another digest', async () => {
  const response = await fetch(`${await open()}&digest=${sha256(Buffer.from('x'))}`, {
    method: 'PUT',
    body: 'y',
  });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ errors: [{ code: 'DIGEST_INVALID' }] });
});

it('takes chunks in order, and only at the newest location', async () => {
  const first = await open();
  const patch = (url: string, range: string, body: string) =>
    fetch(url, { method: 'PATCH', headers: { 'content-range': range }, body });
  const second = await patch(first, '0-2', 'abc');
  expect(second.status).toBe(202);
  expect(second.headers.get('range')).toBe('0-2');
  expect((await patch(first, '3-5', 'def')).status).toBe(404);
  const again = await patch(second.headers.get('location') ?? '', '0-2', 'abc');
  expect(again.status).toBe(416);
  const end = `${again.headers.get('location')}&digest=${sha256(Buffer.from('abc'))}`;
  expect((await fetch(end, { method: 'PUT' })).status).toBe(201);
});

it('refuses a manifest whose blobs it lacks', async () => {
  const type = 'application/vnd.oci.image.manifest.v1+json';
  const blob = { mediaType: 'a/b', size: 1, digest: sha256(Buffer.from('missing')) };
  const body = JSON.stringify({ schemaVersion: 2, mediaType: type, config: blob, layers: [] });
  const response = await fetch(`${registry.origin}/v2/a/manifests/v1`, {
    method: 'PUT',
    headers: { 'content-type': type },
    body,
  });
  expect(response.status).toBe(400);
});

it('answers ranges', async () => {
  const { digest } = registry.addBlob('a', Buffer.from('0123456789'));
  const get = (range: string) => fetch(`${registry.origin}/v2/a/blobs/${digest}`, { headers: { range } });
  const part = await get('bytes=4-');
  expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([
    206,
    'bytes 4-9/10',
    '456789',
  ]);
  expect((await get('bytes=10-')).status).toBe(416);
});

it('mounts only what the source has', async () => {
  const { digest } = registry.addBlob('src', Buffer.from('mounted'));
  const mount = async (from: string) =>
    (await fetch(`${registry.origin}/v2/dst/blobs/uploads/?mount=${digest}&from=${from}`, { method: 'POST' }))
      .status;
  expect([await mount('nothing'), await mount('src')]).toEqual([202, 201]);
});
