import { describe, expect, it } from 'vitest';
import { parseImageConfig } from '../../../src/oci/image-config.ts';
import { parseIndex, parseManifest, parseManifestDocument } from '../../../src/oci/manifest.ts';
import { OCI_INDEX, OCI_MANIFEST } from '../../../src/oci/media-type.ts';
import { choosePlatform, formatPlatform, parsePlatform } from '../../../src/oci/platform.ts';

const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));

function index(...platforms: (string | undefined)[]) {
  return parseIndex(
    bytes({
      schemaVersion: 2,
      manifests: platforms.map((text, i) => ({
        mediaType: OCI_MANIFEST,
        size: 1,
        digest: digest(String(i)),
        platform:
          text === undefined
            ? undefined
            : { os: text.split('/')[0], architecture: text.split('/')[1], variant: text.split('/')[2] },
      })),
    }),
    OCI_INDEX,
  );
}

describe('platforms', () => {
  it.each([
    ['linux/arm64/v8', 'linux/arm64'],
    ['amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['Linux/AMD64/v3', 'linux/amd64/v3'],
  ])('%s is %s', (text, normal) => expect(formatPlatform(parsePlatform(text))).toBe(normal));

  it.each([
    ['linux/arm/v7', ['linux/arm/v5', 'linux/arm/v6', 'linux/arm/v7'], 2],
    ['linux/arm/v6', ['linux/arm/v7', 'linux/arm/v5', 'linux/arm/v6'], 2],
    ['linux/arm/v7', ['linux/amd64', 'linux/arm/v5'], 1],
    ['linux/amd64/v3', ['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'], 1],
    ['linux/arm64', ['unknown/unknown', 'linux/arm64/v8'], 1],
    ['linux/amd64', [undefined], 0],
  ])('%s out of %j', (wanted, offered, chosen) => {
    expect(choosePlatform(index(...offered), parsePlatform(wanted)).digest).toBe(digest(String(chosen)));
  });

  it('does not run a higher variant', () => {
    expect(() => choosePlatform(index('linux/amd64/v4'), parsePlatform('linux/amd64'))).toThrow(
      expect.objectContaining({ code: 'E_NO_PLATFORM' }),
    );
  });
});

describe('documents of strangers', () => {
  const descriptor = { mediaType: 'a/b', size: 1, digest: digest('a') };
  const good = { schemaVersion: 2, mediaType: OCI_MANIFEST, config: descriptor, layers: [descriptor] };

  it('reads a manifest', () => expect(parseManifest(bytes(good), OCI_MANIFEST).layers).toHaveLength(1));

  it.each([
    ['both kinds', { ...good, manifests: [] }],
    ['another type than it came as', { ...good, mediaType: OCI_INDEX }],
    ['a digest that is none', { ...good, config: { ...descriptor, digest: 'sha256:../../etc/passwd' } }],
    ['a negative size', { ...good, layers: [{ ...descriptor, size: -1 }] }],
    ['a size beyond 2^53', { ...good, layers: [{ ...descriptor, size: 2 ** 60 }] }],
    ['layers that are no list', { ...good, layers: {} }],
    ['two spellings', `{"schemaVersion":2,"config":{},"layers":[],"Layers":[]}`],
    ['no JSON', '{'],
    ['a list', '[]'],
    ['too many layers', { ...good, layers: Array(5000).fill(descriptor) }],
  ])('refuses %s', (_name, document) => {
    expect(() => parseManifestDocument(bytes(document), OCI_MANIFEST)).toThrow(
      expect.objectContaining({ code: 'E_BAD_MANIFEST' }),
    );
  });

  it('names schema 1', () => {
    expect(() => parseManifestDocument(bytes({ schemaVersion: 1, fsLayers: [] }))).toThrow(
      expect.objectContaining({ code: 'E_UNSUPPORTED_MEDIA_TYPE' }),
    );
  });

  it('reads configs with nulls and refuses wrong types', () => {
    const config = {
      os: 'linux',
      architecture: 'amd64',
      rootfs: { type: 'layers', diff_ids: null },
      config: { Env: null, Cmd: ['a'] },
      history: null,
    };
    expect(parseImageConfig(bytes(config))).toMatchObject({
      rootfs: { diff_ids: [] },
      config: { Cmd: ['a'] },
    });
    for (const wrong of [
      { ...config, os: 1 },
      { ...config, config: { Env: 'A=b' } },
      { ...config, rootfs: { type: 'layers', diff_ids: ['x'] } },
    ]) {
      expect(() => parseImageConfig(bytes(wrong))).toThrow(
        expect.objectContaining({ code: 'E_BAD_MANIFEST' }),
      );
    }
  });
});
