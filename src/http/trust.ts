import { readFileSync } from 'node:fs';

/** Where distributions keep the system's certificates; the first that exists. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/**
 * The certificates to trust: Node's own, the system's and those that the environment names. Node trusts only its own
 * list, which fails behind a proxy that inspects TLS.
 */
export function trustedCertificates(environment: NodeJS.ProcessEnv = process.env): string[] {
  // Not imported: its lists of certificates would be made when this is loaded.
  const tls = process.getBuiltinModule('node:tls');
  // In Node since 22.15 and 23.10.
  if (typeof tls.getCACertificates === 'function') {
    const lists = (['bundled', 'system', 'extra'] as const).map((kind) => tls.getCACertificates(kind));
    return [...new Set([...lists.flat(), ...fromFile(environment.SSL_CERT_FILE)])];
  }
  const system = SYSTEM_BUNDLES.map(fromFile).find((certificates) => certificates.length > 0) ?? [];
  return [...new Set([...tls.rootCertificates, ...system, ...fromFile(environment.SSL_CERT_FILE)])];
}

function fromFile(path: string | undefined): string[] {
  if (path === undefined || path === '') {
    return [];
  }
  try {
    return (
      readFileSync(path, 'latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    );
  } catch {
    // A bundle that is not there adds nothing; if it was needed the connection says so.
    return [];
  }
}
