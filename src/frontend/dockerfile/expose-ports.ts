/** Words of EXPOSE. Source: reference of the Dockerfile, "EXPOSE"; host parts are left over from `docker run --publish`. */
import { CHECKS, type CheckName } from './check-rules.ts';
import { instructionError } from './definition-place.ts';

const PROTOCOLS = ['tcp', 'udp', 'sctp'];
const LARGEST_PORT = 65_535;

/** `8000-8002/UDP` becomes `8000/udp`, `8001/udp`, `8002/udp`. */
export function exposedPorts(
  written: string,
  words: { finding(rule: CheckName, message: string): void },
): readonly string[] {
  const fail = (why: string) =>
    instructionError(`'${written}' is no port: ${why}`, {
      hint: 'write PORT, PORT-PORT, PORT/tcp, PORT/udp or PORT/sctp',
      culprit: written,
    });
  const parts = written.split(':');
  const last = parts.at(-1) ?? '';
  const hostPort = parts.at(-2) ?? '';
  const ip = parts.slice(0, -2).join(':');
  const slash = last.indexOf('/');
  const numbers = slash < 0 ? last : last.slice(0, slash);
  const protocol = slash < 0 ? '' : last.slice(slash + 1);
  if (numbers === '') {
    throw fail('no port is given');
  }
  if (protocol !== '' && !PROTOCOLS.includes(protocol.toLowerCase())) {
    throw fail(`the protocol '${protocol}' is none of ${PROTOCOLS.join(', ')}`);
  }
  if (protocol !== protocol.toLowerCase()) {
    words.finding('ExposeProtoCasing', CHECKS.ExposeProtoCasing.message(written));
  }
  if (hostPort !== '' || ip !== '') {
    words.finding('ExposeInvalidFormat', CHECKS.ExposeInvalidFormat.message(written));
  }
  if (ip !== '' && !isIpAddress(ip.replace(/^\[(.*)\]$/, '$1'))) {
    throw fail(`'${ip}' is no IP address`);
  }
  const range = portRange(numbers);
  if (range === undefined) {
    throw fail(`'${numbers}' is no port or range of ports up to ${LARGEST_PORT}`);
  }
  if (hostPort !== '') {
    const host = portRange(hostPort);
    if (host === undefined || (range[0] !== range[1] && host[1] - host[0] !== range[1] - range[0])) {
      throw fail(`the host's '${hostPort}' does not fit`);
    }
  }
  const count = range[1] - range[0] + 1;
  const name = protocol === '' ? 'tcp' : protocol.toLowerCase();
  return Array.from({ length: count }, (_, index) => `${range[0] + index}/${name}`);
}

function portRange(text: string): readonly [number, number] | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) {
    return undefined;
  }
  const start = Number(match[1]);
  const end = match[2] === undefined ? start : Number(match[2]);
  return start <= end && end <= LARGEST_PORT ? [start, end] : undefined;
}

function isIpAddress(text: string): boolean {
  const numbers = text.split('.');
  return text.includes(':')
    ? URL.canParse(`http://[${text}]/`)
    : numbers.length === 4 && numbers.every((each) => /^\d{1,3}$/.test(each) && Number(each) <= 255);
}
