import { describe, expect, it } from 'vitest';
import { parseProjectPage } from '../../../src/tools/simple-index.ts';

const BASE = new URL('https://index.example/simple/uv/');
const HASH = 'ab'.repeat(32);
const html = (...links: string[]) => `<!DOCTYPE html><html><body>${links.join('<br/>\n')}</body></html>`;
const json = (...files: unknown[]) => JSON.stringify({ meta: { 'api-version': '1.0' }, name: 'uv', files });
const fromHtml = (body: string, base = BASE) => parseProjectPage(body, 'text/html; charset=utf-8', base);
const fromJson = (body: string, base = BASE) =>
  parseProjectPage(body, 'application/vnd.pypi.simple.v1+json', base);
const urls = (files: ReturnType<typeof parseProjectPage>) => files.map(({ url }) => url.href);

describe('a page in HTML', () => {
  it('has files with their hashes, in order, links relative to the page', () => {
    const found = fromHtml(
      html(
        `<a href="../../files/uv-1.0.whl#sha256=${HASH}" data-requires-python="&gt;=3.8"> uv-1.0.whl </a>`,
        `<A\n  data-x="y" HREF="https://files.example/uv-2.0.whl?a=1&amp;b=2#sha256=${HASH}">uv-2.0.whl</A>`,
      ),
    );
    expect(found.map(({ filename, sha256 }) => [filename, sha256])).toEqual([
      ['uv-1.0.whl', HASH],
      ['uv-2.0.whl', HASH],
    ]);
    expect(urls(found)).toEqual([
      `https://index.example/files/uv-1.0.whl#sha256=${HASH}`,
      `https://files.example/uv-2.0.whl?a=1&b=2#sha256=${HASH}`,
    ]);
  });

  it.each([
    ['yanked', `<a href="a.whl#sha256=${HASH}" data-yanked="broken">a.whl</a>`],
    ['yanked without a reason', `<a data-yanked href="a.whl#sha256=${HASH}">a.whl</a>`],
    ['without a hash', '<a href="a.whl">a.whl</a>'],
    ['with another hash', `<a href="a.whl#md5=${HASH.slice(0, 32)}">a.whl</a>`],
    ['with a short hash', `<a href="a.whl#sha256=${HASH.slice(0, 63)}">a.whl</a>`],
    ['without an address', '<a name="top">a.whl</a>'],
  ])('leaves out a file that is %s', (_, link) => {
    const good = `<a href="good.whl#sha256=${HASH}">good.whl</a>`;
    expect(fromHtml(html(link, good)).map(({ filename }) => filename)).toEqual(['good.whl']);
  });

  it('without links has no files', () => {
    expect(fromHtml('')).toEqual([]);
  });

  it('of hostile text is read to its end', () => {
    expect(fromHtml('<a '.repeat(200_000))).toEqual([]);
    expect(fromHtml(`<a ${'href='.repeat(200_000)}`)).toEqual([]);
  });
});

describe('a page in JSON', () => {
  const file = { filename: 'a.whl', url: 'a.whl', hashes: { sha256: HASH } };

  it('has files with their hashes, in order, links relative to the page', () => {
    const found = fromJson(
      json(file, { ...file, filename: 'b.whl', url: 'https://files.example/b.whl', yanked: false, size: 5 }),
    );
    expect(found.map(({ filename, sha256 }) => [filename, sha256])).toEqual([
      ['a.whl', HASH],
      ['b.whl', HASH],
    ]);
    expect(urls(found)).toEqual(['https://index.example/simple/uv/a.whl', 'https://files.example/b.whl']);
  });

  it.each([
    ['yanked', { ...file, yanked: true }],
    ['yanked with a reason', { ...file, yanked: 'broken' }],
    ['null', null],
    ['with null for hashes', { ...file, hashes: null }],
    ['without hashes', { filename: 'a.whl', url: 'a.whl' }],
    ['with another hash', { ...file, hashes: { md5: 'x' } }],
    ['with a hash that is none', { ...file, hashes: { sha256: `${HASH.slice(2)}/.` } }],
    ['with a hash in capitals', { ...file, hashes: { sha256: HASH.toUpperCase() } }],
    ['with a number for a name', { ...file, filename: 1 }],
    ['with an address that is none', { ...file, url: 'https://[' }],
  ])('leaves out a file that is %s', (_, bad) => {
    expect(fromJson(json(bad, { ...file, filename: 'good.whl' })).map(({ filename }) => filename)).toEqual([
      'good.whl',
    ]);
  });

  it.each([
    ['no JSON', '<html>'],
    ['cut', json(file).slice(0, 40)],
    ['null', 'null'],
    ['a list', '[]'],
    ['without files', '{}'],
    ['with files that are no list', '{"files":{}}'],
  ])('that is %s is refused', (_, body) => {
    expect(() => fromJson(body)).toThrow(expect.objectContaining({ code: 'E_NETWORK' }));
  });
});

describe('addresses', () => {
  const page = (url: string) => json({ filename: 'a.whl', url, hashes: { sha256: HASH } });

  it.each([
    ['https://index.example/simple/uv/', 'http://files.example/a.whl', []],
    ['https://index.example/simple/uv/', '//files.example/a.whl', ['https://files.example/a.whl']],
    ['http://127.0.0.1/simple/uv/', 'http://127.0.0.1/a.whl', ['http://127.0.0.1/a.whl']],
    ['http://127.0.0.1/simple/uv/', 'https://files.example/a.whl', ['https://files.example/a.whl']],
    ['http://127.0.0.1/simple/uv/', 'file:///etc/passwd', []],
    ['https://index.example/simple/uv/', 'javascript:alert(1)', []],
  ])('on %s the link %s', (base, link, expected) => {
    expect(urls(fromJson(page(link), new URL(base)))).toEqual(expected);
    const link2 = html(`<a href="${link}#sha256=${HASH}">a.whl</a>`);
    expect(urls(fromHtml(link2, new URL(base)))).toEqual(expected.map((url) => `${url}#sha256=${HASH}`));
  });
});
