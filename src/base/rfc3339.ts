/** Seconds since 1970 as images and reports spell times: `2026-10-15T08:00:00Z`. Source: RFC 3339. */
export function rfc3339(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}
