import { describe, expect, it } from 'vitest';
import { parseCacheSource, parseCacheTarget } from '../../../src/cli/cache-spec.ts';
import { BadValue } from '../../../src/cli/option.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

describe('parseCacheSource', () => {
  it.each([
    ['r.example/a:1', { type: 'registry', ref: 'r.example/a:1' }],
    ['type=registry,ref=r.example/a:1', { type: 'registry', ref: 'r.example/a:1' }],
    ['ref=a,type=registry', { type: 'registry', ref: 'a' }],
    ['type=local,src=dir', { type: 'local', src: 'dir' }],
    ['type=local,"src=a,b",tag=x', { type: 'local', src: 'a,b', tag: 'x' }],
    [`type=local,src=dir,digest=${DIGEST}`, { type: 'local', src: 'dir', digest: DIGEST }],
  ])('reads %s', (text, source) => {
    expect(parseCacheSource(text)).toEqual(source);
  });

  it.each([
    ['', 'empty'],
    ['ref=a', 'type is missing'],
    ['type=regstry,ref=a', "did you mean 'registry'?"],
    ['type=gha', 'does not speak'],
    ['type=s3,bucket=b', "unknown field 'bucket'"],
    ['type=registry', 'needs ref='],
    ['type=registry,ref=', 'ref= is empty'],
    ['type=registry,ref=A B', 'cannot parse image reference'],
    ['UPPER', 'cannot parse image reference'],
    ['type=registry,reff=a', "did you mean 'ref'?"],
    ['type=registry,src=a', 'has no src'],
    ['type=local', 'needs src='],
    ['type=local,src=a,digest=sha256:x', '64 hex digits'],
    ['type=local,src=a,src=b', 'given twice'],
    ['type=inline', 'is not one of registry, local'],
  ])('refuses %s', (text, message) => {
    expect(() => parseCacheSource(text)).toThrow(BadValue);
    expect(() => parseCacheSource(text)).toThrow(message);
  });
});

describe('parseCacheTarget', () => {
  it.each([
    ['r.example/a:1', { type: 'registry', ref: 'r.example/a:1' }],
    ['type=registry,ref=a,mode=max', { type: 'registry', ref: 'a', mode: 'max' }],
    ['type=local,dest=d,tag=t', { type: 'local', dest: 'd', tag: 't' }],
    ['type=inline', { type: 'inline' }],
    ['type=inline,mode=min', { type: 'inline' }],
    [
      'type=registry,ref=a,compression=gzip,compression-level=9,force-compression,ignore-error=true',
      {
        type: 'registry',
        ref: 'a',
        compression: 'gzip',
        compressionLevel: 9,
        forceCompression: true,
        ignoreError: true,
      },
    ],
    ['type=registry,ref=a,image-manifest=true,oci-mediatypes=true', { type: 'registry', ref: 'a' }],
  ])('reads %s', (text, target) => {
    expect(parseCacheTarget(text)).toEqual(target);
  });

  it.each([
    ['type=local', 'needs dest='],
    ['type=local,src=a', "unknown field 'src'"],
    ['type=registry,ref=a,mode=all', 'is not one of min, max'],
    ['type=registry,ref=a,mdoe=max', "did you mean 'mode'?"],
    ['type=inline,mode=max', 'needs another type'],
    ['type=inline,ref=a', 'has no ref'],
    ['type=registry,ref=a,image-manifest=false', 'image manifest'],
    ['type=registry,ref=a,oci-mediatypes=0', 'image manifest'],
    ['type=registry,ref=a,compression=estargz', 'is not one of'],
    ['type=registry,ref=a,compression-level=23', 'above 22'],
    ['type=registry,ref=a,compression=gzip,compression-level=10', 'above 9'],
    ['type=azblob', 'does not speak'],
  ])('refuses %s', (text, message) => {
    expect(() => parseCacheTarget(text)).toThrow(BadValue);
    expect(() => parseCacheTarget(text)).toThrow(message);
  });
});
