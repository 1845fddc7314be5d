import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BadValue } from '../../../src/cli/option.ts';
import { parseOutput } from '../../../src/cli/output-spec.ts';
import { splitFields } from '../../../src/cli/spec-fields.ts';

describe('parseOutput', () => {
  it.each([
    ['out', { type: 'local', dest: 'out' }],
    ['-', { type: 'tar', dest: '-' }],
    ['type=oci,dest=a.tar', { type: 'oci', dest: 'a.tar' }],
    ['type=oci,dest=dir,tar=false', { type: 'oci', dest: 'dir', tar: false }],
    [
      'type=oci,"dest=a,""b"".tar",compression=gzip,compression-level=9',
      { type: 'oci', dest: 'a,"b".tar', compression: 'gzip', compressionLevel: 9 },
    ],
    ['type=docker,dest=-', { type: 'docker', dest: '-' }],
    ['type=registry,name=r.example/a:1', { type: 'registry', name: 'r.example/a:1' }],
    ['type=image,name=r.example/a:1,push=true', { type: 'image', name: 'r.example/a:1', push: true }],
    ['type=image,"name=a,b:2"', { type: 'image', name: 'a,b:2' }],
    ['type=cacheonly', undefined],
    [
      'type=image,name=r.example/a,push-by-digest=true,name-canonical=true,push=true,unpack=true,store=true',
      { type: 'image', name: 'r.example/a', pushByDigest: true, push: true },
    ],
    ['type=local,dest=x,mode=delete', { type: 'local', dest: 'x', mode: 'delete' }],
    ['type=tar,dest=x,platform-split=false', { type: 'tar', dest: 'x', platformSplit: false }],
    [
      'type=oci,dest=x,compression=gzip,force-compression=false,source-date-epoch=17',
      { type: 'oci', dest: 'x', compression: 'gzip', forceCompression: false, sourceDateEpoch: 17 },
    ],
    ['type=registry,oci-mediatypes=false', { type: 'registry', mediaTypes: 'docker' }],
    [
      'type=oci,dest=x,annotation.org.Example.Key=A,annotation-index.i=b,annotation-manifest-descriptor[linux/arm/v7].d=e=f',
      {
        type: 'oci',
        dest: 'x',
        annotations: [
          { target: 'manifest', key: 'org.Example.Key', value: 'A' },
          { target: 'index', key: 'i', value: 'b' },
          {
            target: 'manifest-descriptor',
            platform: { os: 'linux', architecture: 'arm', variant: 'v7' },
            key: 'd',
            value: 'e=f',
          },
        ],
      },
    ],
    ['TYPE=tar,dest=x,rewrite-timestamp', { type: 'tar', dest: 'x', rewriteTimestamp: true }],
  ])('reads %s', (text, spec) => {
    expect(parseOutput(text)).toEqual(spec);
  });

  it.each([
    ['dest=x', 'type is missing'],
    ['type=oic,dest=x', 'is not one of'],
    ['type=oci', 'needs dest='],
    ['type=oci,dest=', 'dest= is empty'],
    ['type=oci,dest=a,dest=b', 'given twice'],
    ['type=oci,dset=a', "did you mean 'dest'?"],
    ['type=registry,dest=a', 'has no dest'],
    ['type=tar,dest=a,tar=false', 'tar=false'],
    ['type=local,dest=-', 'standard output'],
    ['type=oci,dest=-,tar=false', 'standard output'],
    ['type=docker,dest=a,compression=zstd', 'zstd'],
    ['type=tar,dest=a,compression=gzip', 'no meaning'],
    ['type=oci,dest=a,compression-level=23', 'above 22'],
    ['type=oci,dest=a,compression=gzip,compression-level=10', 'above 9'],
    ['type=oci,dest=a,compression-level=-1', 'whole number'],
    ['type=docker,dest=a,compression-level=10', 'above 9'],
    ['type=oci,dest=a,push=true', 'is not pushed'],
    ['type=oci,dest=a,mode=delete', 'for type=local'],
    ['type=local,dest=a,mode=move', 'is not one of'],
    ['type=oci,dest=a,platform-split=false', 'platform-split is for'],
    ['type=oci,dest=a,oci-mediatypes=false', 'no image of type=oci'],
    ['type=registry,oci-mediatypes=false,compression=zstd', 'no type among'],
    ['type=registry,oci-mediatypes=false,annotation.a=b', 'no place for annotations'],
    ['type=local,dest=a,annotation.a=b', 'no meaning'],
    ['type=oci,dest=a,annotation-layer.a=b', "'layer' cannot be annotated"],
    ['type=oci,dest=a,annotation-index[linux/amd64].a=b', 'for all platforms'],
    ['type=image,store=false', 'every image that is built is in the store'],
    ['type=image,dangling-name-prefix=x', 'has no meaning here'],
    ['type=oci,dest=a,attestation-inline=true', 'no attestations are made'],
    ['type=oci,dest=a,compression=stargz', 'is not one of'],
    ['type=docker,dest=a,compression=estargz', 'needs annotations'],
    ['type=registry,oci-mediatypes=false,compression=zstd:chunked', 'needs annotations'],
    ['type=oci,dest=a,compression=estargz,compression-level=10', 'above 9'],
    ['type=local,dest=a,compression=zstd:chunked', 'no meaning'],
    ['type=oci,dest=a,source-date-epoch=context', 'seconds since 1970'],
    ['type=oci,"dest=a', 'not closed'],
    ['type=oci,"dest=a"b', 'follows a closing quote'],
    ['type=oci,de"st=a', 'a quote within'],
    ['', 'empty'],
  ])('refuses %s', (text, reason) => {
    expect(() => parseOutput(text)).toThrow(reason);
    expect(() => parseOutput(text)).toThrow(BadValue);
  });
});

describe('splitFields', () => {
  it('gives back what was quoted', () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1 }), (fields) => {
        const text = fields.map((field) => `"${field.replaceAll('"', '""')}"`).join(',');
        expect(splitFields(text)).toEqual(fields);
      }),
    );
  });
});
