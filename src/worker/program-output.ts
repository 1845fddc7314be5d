/** What a program writes, on its way to whoever sits before it. */
import { SecretMask } from '../secret/mask.ts';
import type { RequestContext } from './context.ts';

/** As it is: what a person types comes back from a terminal character by character, and nothing of it can be held back. */
export function rawOutput({ emit }: Pick<RequestContext, 'emit'>) {
  return {
    write: (stream: 'stdout' | 'stderr', chunk: Buffer) =>
      emit({ kind: 'output', stream, base64: chunk.toString('base64') }),
    end: () => undefined,
  };
}

/** Without the values of secrets. */
export function maskedOutput({ emit }: Pick<RequestContext, 'emit'>, secrets: readonly (string | Buffer)[]) {
  const masks = { stdout: new SecretMask(secrets), stderr: new SecretMask(secrets) };
  const send = (stream: 'stdout' | 'stderr', masked: string) => {
    if (masked !== '') {
      emit({ kind: 'output', stream, base64: Buffer.from(masked, 'latin1').toString('base64') });
    }
  };
  return {
    write: (stream: 'stdout' | 'stderr', chunk: Buffer) =>
      send(stream, masks[stream].push(chunk.toString('latin1'))),
    end: () => {
      send('stdout', masks.stdout.end());
      send('stderr', masks.stderr.end());
    },
  };
}
