/** Web files and commits as inputs of steps: as root, with subordinate ids and without. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { COMMIT_SECONDS, commit, makeRepository, serveGitHttp } from '../support/git-server.ts';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, stage } from '../support/unprivileged-user.ts';
import { serveFile, startWebServer } from '../support/web-server.ts';

const MODIFIED = 'Wed, 21 Oct 2015 07:28:00 GMT';
const MODIFIED_SECONDS = 1_445_412_480;

describe.runIf(canMakeUsers() && !lacks('git')).each(['root', 'with-ids', 'without-ids'] as const)(
  'as %s',
  (user) => {
    test('a step copies from a web file and from a commit, and then from nobody', async () => {
      const where = stage(user);
      const root = mkdtempSync(join(tmpdir(), 'tsbuild-git-'));
      await using web = await startWebServer();
      await using server = await serveGitHttp(root);
      onTestFinished(() => {
        where.remove();
        rmSync(root, { recursive: true, force: true });
      });
      web.handle((request, response) =>
        serveFile(request, response, { body: 'one', etag: '"1"', lastModified: MODIFIED }),
      );
      const repository = makeRepository(root, 'a.git');
      mkdirSync(join(repository, 'docs'));
      writeFileSync(join(repository, 'docs/run'), 'x');
      chmodSync(join(repository, 'docs/run'), 0o700);
      symlinkSync('/etc/passwd', join(repository, 'docs/link'));
      commit(repository, { 'docs/f': '1', g: '2' });
      const [first, second] = (await runJson(
        where,
        'test/support/remote-sources-scenario.ts',
        join(where.dir, 'store'),
        `${web.origin}/dir/file.txt`,
        `${server.origin}/a.git?mtime=commit#main:docs`,
      )) as { outcomes: string[]; workerStarted: boolean; files: unknown[] }[];
      expect(
        first?.files.filter((file) => !['file', 'repository'].includes((file as string[])[0] ?? '')),
      ).toEqual([
        ['file/file.txt', '600', MODIFIED_SECONDS],
        ['repository/f', '644', COMMIT_SECONDS],
        ['repository/link', '-> /etc/passwd', COMMIT_SECONDS],
        ['repository/run', '755', COMMIT_SECONDS],
      ]);
      expect(first?.outcomes).toContain('done');
      expect(second).toMatchObject({ workerStarted: false });
      expect(new Set(second?.outcomes)).toEqual(new Set(['cached']));
      // The file was asked for twice, and given once.
      expect(web.requests.map(({ headers }) => headers['if-none-match'])).toEqual([undefined, '"1"']);
    });
  },
);
