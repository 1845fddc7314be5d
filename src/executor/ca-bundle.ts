/** Bundles of certificates: what is in them, and several as one. Loads nothing of Node's own certificates. */
const CERTIFICATE = /-----BEGIN CERTIFICATE-----([\s\S]*?)-----END CERTIFICATE-----/g;

/** The certificates of several bundles, each once: older programs stop at the second copy of one. */
export function mergeBundles(pems: readonly string[]): string {
  const merged = new Map<string, string>();
  for (const [block, base64 = ''] of pems.flatMap((pem) => [...pem.matchAll(CERTIFICATE)])) {
    merged.set(fingerprint(base64), block);
  }
  return [...merged.values()].map((block) => `${block}\n`).join('');
}

/** Of all certificates in it. */
export function fingerprints(pem: string): Set<string> {
  return new Set([...pem.matchAll(CERTIFICATE)].map(([, base64 = '']) => fingerprint(base64)));
}

/** Tells one certificate from another, whatever the line breaks. No digest of it: a hundred of them cost more than keeping the text. */
function fingerprint(base64: string): string {
  return base64.replace(/\s+/g, '');
}
