/** Typical mistakes, as the command shows them: the user's lines, what is wrong there, and the one next thing to try. */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { lacks } from '../../support/requires.ts';
import { Workbench } from '../../support/workbench.ts';

interface Mistake {
  readonly dockerfile: string;
  readonly args?: readonly string[];
  readonly status?: number;
}

const FROM = 'FROM scratch AS base\nCOPY app /app\n';
const SHELL = 'FROM scratch\nCOPY busybox /bin/sh\nENV PATH=/bin\n';

const MISTAKES: Readonly<Record<string, Mistake>> = {
  'unknown-instruction': { dockerfile: `${FROM}COPPY a b\n` },
  'instruction-before-from': { dockerfile: 'RUN true\nFROM scratch\n' },
  'no-from': { dockerfile: '# Nothing yet.\nARG A=1\n' },
  'unknown-flag': { dockerfile: `${FROM}COPY --chwon=1 app /a\n` },
  'flag-value': { dockerfile: `${FROM}COPY --chmod=rwx app /a\n` },
  'missing-source': { dockerfile: `${FROM}COPY ap /a\n` },
  'ignored-source': { dockerfile: `${FROM}COPY hidden /a\n` },
  'missing-source-of-stage': { dockerfile: `${FROM}FROM scratch\nCOPY --from=base /ap /a\n` },
  'copy-without-destination': { dockerfile: `${FROM}COPY app\n` },
  'unknown-stage-of-copy': { dockerfile: `${FROM}COPY --from=Base: app /a\n` },
  'later-stage': { dockerfile: `${FROM}COPY --from=later x /x\nFROM scratch AS later\n` },
  'stage-of-itself': { dockerfile: `FROM scratch AS me\nCOPY --from=me x /x\n` },
  'unknown-target': { dockerfile: FROM, args: ['--target', 'bse'] },
  'blank-in-label': { dockerfile: `${FROM}LABEL a=one two\n` },
  'required-variable': { dockerfile: `ARG V\n${FROM}ARG V\nLABEL v="\${V:?give it with --build-arg}"\n` },
  'bad-substitution': { dockerfile: `${FROM}LABEL v="\${V:x}"\n` },
  'open-quote': { dockerfile: `${FROM}ENV A="b\n` },
  'open-heredoc': { dockerfile: `${FROM}COPY <<EOF /x\ntext\nEOT\n` },
  'bad-mount': { dockerfile: `${SHELL}RUN --mount=type=bnd,target=/x true\n` },
  'bad-json-array': { dockerfile: `${FROM}SHELL /bin/sh -c\n` },
  'bad-platform': { dockerfile: 'FROM --platform=linux/amd64/v1/x scratch\nLABEL a=b\n' },
  'bad-image-name': { dockerfile: 'FROM Alpine:latest:3\nLABEL a=b\n' },
  'bad-port': { dockerfile: `${FROM}EXPOSE 80000\n` },
  'url-in-copy': { dockerfile: `${FROM}COPY https://h.example/x /x\n` },
  'no-checksum': { dockerfile: `${FROM}ADD --checksum=md5:abc http://h.example/x /x\n` },
  'unknown-user': { dockerfile: `${FROM}COPY --chown=nobody:nobody app /b\n` },
  'failing-command': {
    dockerfile: `${SHELL}RUN echo one \\\n && echo two \\\n && ls /missing\nLABEL a=b\n`,
    status: 1,
  },
  'no-shell': { dockerfile: `${FROM}RUN ls\n`, status: 1 },
  'image-that-is-nowhere': {
    dockerfile: `${FROM}COPY --from=127.0.0.1:9/no:1 x /x\n`,
    status: 4,
  },
  'url-that-is-nowhere': { dockerfile: `${FROM}ADD http://127.0.0.1:9/x?token=hidden /x\n`, status: 4 },
  'check-as-error': { dockerfile: `# check=error=true\n${FROM}from base\nLABEL a b\n` },
};

describe.skipIf(lacks('root', 'bwrap', 'busybox'))('mistakes', () => {
  let bench: Workbench;
  beforeAll(() => {
    bench = new Workbench();
    bench.context('ctx', { app: 'app', hidden: 'h', '.dockerignore': '# Not for images.\nhid*\n' });
  });
  afterAll(() => bench[Symbol.dispose]());

  test.for(Object.entries(MISTAKES))('%s', { concurrent: true }, async ([name, mistake], { expect }) => {
    const { dockerfile, args = [], status = 2 } = mistake;
    const ran = await bench.build([...args, '--progress=quiet', '-f', '-', 'ctx'], { stdin: dockerfile });
    const shown = ran.stderr
      .replaceAll(bench.directory, '/bench')
      .replaceAll(/logs\/[0-9a-f]{64}/g, 'logs/ID')
      .replaceAll(/^\d+\.\d+ /gm, 'TIME ');
    await expect(shown).toMatchFileSnapshot(`../../golden/dockerfile-errors/${name}.txt`);
    expect(ran.status, ran.stderr).toBe(status);
  });
});
