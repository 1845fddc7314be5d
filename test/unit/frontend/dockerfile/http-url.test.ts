import { describe, expect, it } from 'vitest';
import { httpFileName, isHttpUrl, parseChecksum } from '../../../../src/frontend/dockerfile/http-url.ts';

describe('files of web servers', () => {
  it.each([
    ['https://h.example/a/b.tar.gz', 'b.tar.gz'],
    ['https://h.example/a/b.tar.gz?token=x/y#z', 'b.tar.gz'],
    ['https://h.example/a/', 'a'],
    ['https://h.example/a%20b', 'a b'],
    ['https://h.example/x%2Fy', 'y'],
    ['https://h.example/100%', '100%'],
    ['https://h.example', '__unnamed__'],
    ['https://h.example/', '__unnamed__'],
    ['https://h.example/?a=b', '__unnamed__'],
    ['https://h.example/a%2F..', '__unnamed__'],
    ['https://h.example/a%00b', '__unnamed__'],
    ['not a url', '__unnamed__'],
  ])('%s is called %s', (url, name) => {
    expect(httpFileName(url)).toBe(name);
  });

  it('are told by their scheme', () => {
    expect(['http://h/x', 'HTTPS://h/x', 'https:/h', 'ftp://h/x', './http://x'].map(isHttpUrl)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  it('are checked by sha256 alone', () => {
    const hex = 'ab'.repeat(32);
    expect(parseChecksum(`sha256:${hex}`)).toBe(`sha256:${hex}`);
    expect(parseChecksum(`SHA256:${hex.toUpperCase()}`)).toBe(`sha256:${hex}`);
    for (const [text, message] of [
      ['md5:d41d8cd98f00b204e9800998ecf8427e', /md5/],
      [`sha512:${'ab'.repeat(64)}`, /sha512/],
      ['crc:1', /crc/],
      ['sha256:abc', /64 hexadecimal digits/],
      [hex, /not a checksum/],
      ['', /not a checksum/],
    ] as const) {
      expect(() => parseChecksum(text)).toThrow(expect.objectContaining({ code: 'E_CHECKSUM' }));
      expect(() => parseChecksum(text)).toThrow(message);
    }
  });
});
