import { execFile } from 'node:child_process';

/** An interpreter that takes longer than this to say its version is as good as none. */
const LIMIT_MS = 5000;

/** The series of the `python3` that is first on PATH, such as `3.11` or `3.14t`; undefined if there is none (B6). */
export function hostPythonSeries(environment: NodeJS.ProcessEnv = process.env): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(
      'python3',
      ['--version'],
      { env: environment, timeout: LIMIT_MS, maxBuffer: 4096 },
      (error, stdout) => {
        const found = /^Python (3\.\d{1,2})\.\d+\S*( free-threading build)?/.exec(stdout);
        resolve(
          error !== null || found === null ? undefined : `${found[1]}${found[2] === undefined ? '' : 't'}`,
        );
      },
    );
  });
}
