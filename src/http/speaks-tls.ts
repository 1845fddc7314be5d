/** Whether a server speaks TLS at all, asked before a secure connection is prepared: that reads some hundred certificates. */
import { connect } from 'node:tls';
import { proxyFor } from './proxy.ts';

const TIMEOUT_MS = 5_000;

/**
 * What a server that speaks plain HTTP does with a TLS greeting: it answers with something else, or hangs up. A timeout or a
 * wrong certificate says nothing of the kind.
 */
export const NOT_TLS: readonly string[] = [
  'EPROTO',
  'ECONNRESET',
  'UND_ERR_SOCKET',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_HTTP_REQUEST',
];

/**
 * True when the server of an `https:` URL answered a greeting with something that is no TLS. False when it speaks TLS, and
 * whenever that could not be found out, also since a proxy is in between. Nothing but the greeting is sent, and whom one
 * talks to is not checked: whoever goes on does that.
 */
export async function speaksNoTls(
  { hostname, port }: URL,
  options: {
    readonly environment?: NodeJS.ProcessEnv | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<boolean> {
  const host = hostname.replace(/^\[|\]$/g, '');
  const url = new URL(`https://${hostname}:${port || 443}/`);
  if (proxyFor(url, options.environment) !== undefined) {
    return false;
  }
  return await new Promise<boolean>((resolve) => {
    const socket = connect({ host, port: Number(port || 443), ca: [], rejectUnauthorized: false });
    const end = (answer: boolean) => {
      options.signal?.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(answer);
    };
    const onAbort = () => end(false);
    options.signal?.addEventListener('abort', onAbort, { once: true });
    socket.setTimeout(TIMEOUT_MS, () => end(false));
    socket.once('secureConnect', () => end(false));
    socket.on('error', (error: NodeJS.ErrnoException) => end(NOT_TLS.includes(error.code ?? '')));
    // Hung up without a word.
    socket.once('close', () => end(true));
  });
}
