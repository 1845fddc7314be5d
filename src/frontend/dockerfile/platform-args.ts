/** The ARGs that are there without being declared. Source: reference of the Dockerfile, "Automatic platform ARGs", "Predefined ARGs". */
import { formatPlatform, type Platform } from '../../oci/platform.ts';

/** Name → value; those that the caller gives win. `targetStage` is TARGETSTAGE. */
export function platformArgs(
  build: Platform,
  target: Platform,
  targetStage: string,
  buildArgs: Readonly<Record<string, string>>,
): Map<string, string> {
  const values: readonly (readonly [string, string])[] = [
    ...platformValues('BUILD', build),
    ...platformValues('TARGET', target),
    ['TARGETSTAGE', targetStage === '' ? 'default' : targetStage],
  ];
  return new Map(values.map(([name, value]) => [name, buildArgs[name] ?? value]));
}

function platformValues(prefix: string, platform: Platform): readonly (readonly [string, string])[] {
  return [
    [`${prefix}PLATFORM`, formatPlatform(platform)],
    [`${prefix}OS`, platform.os],
    [`${prefix}OSVERSION`, platform['os.version'] ?? ''],
    [`${prefix}ARCH`, platform.architecture],
    [`${prefix}VARIANT`, platform.variant ?? ''],
  ];
}

const PROXY_NAMES = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'];

/** Proxy variables of the caller, in both cases: steps see them, and no key, config or history does. */
export function proxyArgs(
  buildArgs: Readonly<Record<string, string>>,
): readonly (readonly [string, string])[] {
  return Object.entries(buildArgs)
    .filter(([name]) => PROXY_NAMES.includes(name.toUpperCase()))
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .flatMap(([name, value]) => [[name.toUpperCase(), value] as const, [name.toLowerCase(), value] as const]);
}
