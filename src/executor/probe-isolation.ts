/** The part of `doctor` about isolations: each is tried, by the launcher that would make it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { ISOLATION_CHOICES, type Isolation, type IsolationChoice } from '../base/isolation.ts';
import { hasSystemCallFilter } from './bubblewrap.ts';
import type { HostCheck } from './probe.ts';

export interface FoundIsolation {
  readonly isolation: Isolation;
  /** No user namespace. */
  readonly root: boolean;
}

interface LauncherProbe {
  readonly mode?: 'root' | 'multi' | 'single';
  readonly pidNamespace?: boolean;
  readonly notes?: readonly string[];
  readonly message?: string;
  readonly hint?: string;
}

const PROBE_TIMEOUT_MS = 10_000;
const NAMES = { root: 'privileged', multi: 'subordinate-ids', single: 'single-id' } as const;
/** What each promises, and what it does not. */
const WORKS: Readonly<Record<Isolation, string>> = {
  privileged: "works; root in a step is this machine's root, held back by capabilities and namespaces",
  'subordinate-ids': 'works; ids beside the own one can be mapped',
  'single-id': 'works; everybody in a step is one user of this machine',
  chroot: 'works, and is weak: steps see the processes around them',
};

/** Adds a check for each isolation and one for the choice. Undefined: nothing works. */
export function probeIsolations(
  checks: HostCheck[],
  launcher: string,
  tryBubblewrap: (launcher: string, isolation: Isolation) => HostCheck,
): FoundIsolation | undefined {
  const chosen = tryLauncher(launcher, 'auto');
  let notes = (chosen.notes ?? []).join('; ');
  let found: FoundIsolation | undefined;
  if (chosen.mode !== undefined) {
    found = { isolation: isolationOf(chosen), root: chosen.mode === 'root' };
    // As the worker chooses.
    const sandbox =
      found.isolation !== 'chroot' && hasSystemCallFilter()
        ? tryBubblewrap(launcher, found.isolation)
        : undefined;
    if (sandbox?.ok === false && sandbox.detail !== 'not installed') {
      found = { ...found, isolation: 'chroot' };
      notes = [notes, `bubblewrap does not work here: ${sandbox.detail}`]
        .filter((note) => note !== '')
        .join('; ');
    }
  }
  checks.push({
    name: 'isolation',
    ok: found !== undefined,
    detail:
      found === undefined
        ? (chosen.message ?? 'the launcher said nothing')
        : `${found.isolation}${notes === '' ? '' : ` (${notes})`}`,
    required: true,
    ...(found === undefined && chosen.hint !== undefined ? { fix: chosen.hint } : {}),
  });
  for (const isolation of ISOLATION_CHOICES) {
    if (isolation !== 'auto') {
      checks.push(isolation === 'chroot' ? tryChroot(launcher) : tryOne(launcher, isolation));
    }
  }
  return found;
}

function isolationOf({ mode, pidNamespace }: LauncherProbe): Isolation {
  return pidNamespace === true ? NAMES[mode ?? 'single'] : 'chroot';
}

function tryOne(launcher: string, isolation: Isolation): HostCheck {
  const name = isolation === 'subordinate-ids' ? 'subordinate ids' : isolation;
  const tried = tryLauncher(launcher, isolation);
  if (tried.mode !== undefined) {
    return { name, ok: true, detail: WORKS[isolation], required: false };
  }
  const fix = isolation === 'subordinate-ids' ? fixOfIds(tried) : tried.hint;
  return {
    name,
    ok: false,
    detail: reasonOf(tried),
    required: false,
    ...(fix === undefined ? {} : { fix }),
  };
}

/** What the sandbox needs besides is tried with a step that is told nothing to run. */
function tryChroot(launcher: string): HostCheck {
  const name = 'chroot';
  const root = mkdtempSync(join(tmpdir(), 'tsbuild-doctor-'));
  try {
    const words = ['chroot', '--root', root, '--ro-bind', '/proc', '/proc', '--ro-bind', '/sys', '/sys'];
    const more = [
      '--tmpfs',
      '755',
      '0',
      '/dev',
      '--device',
      '/dev/null',
      '/dev/null',
      '--terminals',
      '/dev/pts',
    ];
    const script = 'exec "$@" 3>/dev/null 4</dev/null 5>/dev/null';
    const { status, stderr, error } = spawnSync(
      launcher,
      ['--isolation', 'chroot', '--', '/bin/sh', '-c', script, 'sh', launcher, ...words, ...more],
      { encoding: 'utf8', timeout: PROBE_TIMEOUT_MS },
    );
    if (status === 0) {
      return { name, ok: true, detail: WORKS.chroot, required: false };
    }
    const { hint, ...tried } = parseReport(stderr ?? '', error);
    return {
      name,
      ok: false,
      detail: reasonOf(tried),
      required: false,
      ...(hint === undefined ? {} : { fix: hint }),
    };
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function tryLauncher(launcher: string, isolation: IsolationChoice): LauncherProbe {
  const { stdout, stderr, error } = spawnSync(launcher, ['--isolation', isolation, '--probe'], {
    encoding: 'utf8',
    timeout: PROBE_TIMEOUT_MS,
  });
  return parseReport(stdout?.trim() || stderr || '', error);
}

function parseReport(text: string, error: Error | undefined): LauncherProbe {
  const line = text.trim().split('\n').at(-1) ?? '';
  try {
    return JSON.parse(line) as LauncherProbe;
  } catch {
    return { message: error?.message ?? line };
  }
}

/** Which one it is about stands before it. */
function reasonOf({ message = 'the launcher said nothing' }: LauncherProbe): string {
  return message.replace(/^the isolation '[a-z-]+' does not work here: /, '');
}

function fixOfIds({ message = '', hint }: LauncherProbe): string {
  if (message.includes('package uidmap')) {
    return 'sudo apt-get install uidmap';
  }
  if (message.includes('no_new_privs')) {
    return 'start the container without no-new-privileges (Kubernetes: allowPrivilegeEscalation: true)';
  }
  if (message.includes('without CAP_SYS_ADMIN')) {
    return 'setcap cap_setuid=ep /usr/bin/newuidmap && setcap cap_setgid=ep /usr/bin/newgidmap, in the image';
  }
  if (message.includes('not setuid root')) {
    return 'sudo chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap';
  }
  return (
    hint ?? `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${userInfo().username}`
  );
}
