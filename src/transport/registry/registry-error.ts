/** Answers that are not what we asked for → `RemoteError`. */
import { redactText, redactUrl } from '../../base/redact.ts';
import { RemoteError } from '../../errors.ts';
import { type HttpResponse, header, readBody } from '../../http/http-client.ts';
import { isObject } from '../../oci/json-document.ts';

const MAX_ERROR_BODY_BYTES = 64 * 1024;
const RETRYABLE_STATUS: ReadonlySet<number> = new Set([408, 425, 429, 499, 500, 502, 503, 504, 522]);
const RETRYABLE_CODES: ReadonlySet<string> = new Set(['TOOMANYREQUESTS', 'UNAVAILABLE']);

/** Reads the body and makes the error. `doing` begins the message: `cannot ${doing}: …`. */
export async function registryError(
  response: HttpResponse,
  doing: string,
  attempts = 1,
): Promise<RemoteError> {
  const { status } = response;
  const { codes, text } = await errorBody(response);
  const url = redactUrl(response.url);
  const limits = status === 429 ? rateLimits(response) : '';
  return new RemoteError(`cannot ${doing}: ${response.method} ${url} answered ${status}${text}${limits}`, {
    code:
      status === 401 || status === 403 ? 'E_AUTH' : status === 404 ? 'E_REGISTRY_NOT_FOUND' : 'E_REGISTRY',
    method: response.method,
    url,
    status,
    ociCodes: codes,
    attempts,
    retryable: isRetryableStatus(status) || codes.some((code) => RETRYABLE_CODES.has(code)),
  });
}

export function isRetryableStatus(status: number): boolean {
  return RETRYABLE_STATUS.has(status);
}

async function errorBody(
  response: HttpResponse,
): Promise<{ readonly codes: readonly string[]; readonly text: string }> {
  if (response.method === 'HEAD') {
    response.body.destroy();
    return { codes: [], text: '' };
  }
  let body: string;
  try {
    body = (await readBody(response, MAX_ERROR_BODY_BYTES)).bytes.toString('utf8');
  } catch {
    return { codes: [], text: '' };
  }
  const type = header(response.headers, 'content-type') ?? '';
  if (/html/i.test(type) || /^\s*<(!doctype|html)/i.test(body)) {
    const title = /<title[^>]*>([^<]{1,200})/i.exec(body)?.[1]?.trim();
    return {
      codes: [],
      text: title ? ` with a page titled '${redactText(title, 200)}'` : ' with a web page',
    };
  }
  try {
    const parsed: unknown = JSON.parse(body);
    if (isObject(parsed)) {
      return describeErrors(parsed);
    }
  } catch {
    // Shown as it is.
  }
  return { codes: [], text: body.trim() === '' ? '' : `: ${redactText(body.trim(), 500)}` };
}

/** Source: distribution-spec v1.1, "Error Codes". Token servers say `{"details": …}` or OAuth's `error_description`. */
function describeErrors(body: Readonly<Record<string, unknown>>): {
  readonly codes: readonly string[];
  readonly text: string;
} {
  const errors = Array.isArray(body.errors) ? body.errors.filter(isObject).slice(0, 5) : [];
  const codes = errors.flatMap(({ code }) => (typeof code === 'string' ? [redactText(code, 60)] : []));
  const texts = errors.map(({ code, message, detail }) => {
    const parts = [code, message, detail === undefined || detail === null ? undefined : detailText(detail)];
    return parts.filter((part) => typeof part === 'string' && part !== '').join(' ');
  });
  for (const name of ['error_description', 'error', 'details', 'message']) {
    if (texts.length === 0 && typeof body[name] === 'string') {
      texts.push(body[name]);
    }
  }
  return { codes, text: texts.length === 0 ? '' : `: ${redactText(texts.join('; '), 1000)}` };
}

function detailText(detail: unknown): string {
  const text = typeof detail === 'string' ? detail : JSON.stringify(detail);
  return text === '{}' || text === '[]' ? '' : text.slice(0, 300);
}

function rateLimits(response: HttpResponse): string {
  const names = ['ratelimit-limit', 'ratelimit-remaining', 'docker-ratelimit-source', 'retry-after'];
  const facts = names.flatMap((name) => {
    const value = header(response.headers, name);
    return value === undefined ? [] : [`${name}: ${redactText(value, 100)}`];
  });
  return facts.length === 0 ? '' : ` (${facts.join(', ')})`;
}
