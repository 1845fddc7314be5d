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
    ['type=image,name=r.example/a:1,push=true', { type: 'registry', name: 'r.example/a:1', push: true }],
    ['type=image,name=a', undefined],
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
