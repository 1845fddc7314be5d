import { describe, expect, test } from 'vitest';
import { defaultSeccomp, seccompOf } from '../../../src/executor/seccomp.ts';
import { readSeccompProfile } from '../../../src/executor/seccomp-file.ts';
import { SECCOMP_RULES } from '../../../src/executor/seccomp-profile.ts';

const MACHINE = { kernel: '5.10.0-28-amd64', architecture: 'amd64', capabilities: ['CAP_CHOWN'] };
const read = (profile: unknown) => readSeccompProfile(JSON.stringify(profile), 'p.json', MACHINE);

describe('the profile of tsbuild', () => {
  test('names every system call once, and each rule has a reason', () => {
    const names = SECCOMP_RULES.flatMap((rule) => rule.names);
    expect(names).toHaveLength(new Set(names).size);
    expect(SECCOMP_RULES.filter(({ reason }) => !/^[A-Z].*\.$/s.test(reason))).toEqual([]);
  });

  test('is a program of whole instructions, and says the same to an OCI runtime', () => {
    const { program, oci } = defaultSeccomp();
    expect(program.length % 8).toBe(0);
    expect(program.length / 8).toBeLessThan(1000);
    const rulesOf = (name: string) => oci.syscalls.filter(({ names }) => names.includes(name));
    expect(rulesOf('mount')).toEqual([expect.objectContaining({ action: 'SCMP_ACT_ERRNO', errnoRet: 1 })]);
    // Seven namespaces in clone(2), one more in unshare(2).
    expect(rulesOf('clone')).toHaveLength(7);
    expect(rulesOf('unshare')).toHaveLength(8);
    expect(rulesOf('clone')[0]?.args).toEqual([
      { index: 0, value: 0x20000, valueTwo: 0x20000, op: 'SCMP_CMP_MASKED_EQ' },
    ]);
    const families = rulesOf('socket').map(({ args }) => args?.[0]?.valueTwo);
    expect(families).toContain(40);
    expect([1, 2, 10, 16, 17].filter((family) => families.includes(family))).toEqual([]);
    expect(rulesOf('getpid')).toEqual([]);
  });
});

describe('a profile from a file', () => {
  test('keeps what holds for the machine', () => {
    const rule = (name: string, more: object) => ({ names: [name], action: 'SCMP_ACT_ALLOW', ...more });
    const { syscalls } = read({
      defaultAction: 'SCMP_ACT_ERRNO',
      archMap: [],
      syscalls: [
        rule('always', {}),
        rule('old-kernel', { includes: { minKernel: '4.8' } }),
        rule('new-kernel', { includes: { minKernel: '5.11' } }),
        rule('capable', { includes: { caps: ['CAP_CHOWN'] } }),
        rule('incapable', { includes: { caps: ['CAP_SYS_ADMIN'] } }),
        rule('without', { excludes: { caps: ['CAP_SYS_ADMIN'] } }),
        rule('not-with', { excludes: { caps: ['CAP_CHOWN'] } }),
        rule('here', { includes: { arches: ['amd64', 's390x'] } }),
        rule('elsewhere', { includes: { arches: ['s390x'] } }),
        rule('not-here', { excludes: { arches: ['amd64'] } }),
        { name: 'older-form', action: 'SCMP_ACT_LOG' },
      ],
    });
    expect(syscalls.flatMap(({ names }) => names)).toEqual([
      'always',
      'old-kernel',
      'capable',
      'without',
      'here',
      'older-form',
    ]);
  });

  test('compiles with every comparison, and knows calls that this machine lacks', () => {
    const args = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'].map((op) => ({
      index: 1,
      value: 0xffff_ffff,
      valueTwo: 4,
      op: `SCMP_CMP_${op}`,
    }));
    const profile = read({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 38,
      syscalls: [
        { names: ['personality', 'no_such_call'], action: 'SCMP_ACT_ALLOW', args },
        { names: ['ptrace'], action: 'SCMP_ACT_KILL_THREAD', args: [args[0], { ...args[1], index: 2 }] },
      ],
    });
    expect(seccompOf(profile).program.length).toBeGreaterThan(80);
  });

  test.each([
    ['{', /not a seccomp profile: /],
    ['[]', /no object/],
    [{ syscalls: [] }, /the action of defaultAction is undefined; it can be SCMP_ACT_ALLOW/],
    [{ defaultAction: 'SCMP_ACT_TRACE' }, /"SCMP_ACT_TRACE"/],
    [{ defaultAction: 'SCMP_ACT_ALLOW', defaultErrnoRet: -1 }, /'defaultErrnoRet' of the profile/],
    [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: {} }, /no object with/],
    [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [1] }, /syscalls\[0\] is no object/],
    [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: [] }] }, /syscalls\[0\] names no/],
    [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['a'], action: 'SCMP_ACT_NOTIFY' }] }, /NOTIFY/],
    [
      {
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [
          { names: ['a'], action: 'SCMP_ACT_ALLOW', args: [{ index: 6, value: 1, op: 'SCMP_CMP_EQ' }] },
        ],
      },
      /'index' up to 5/,
    ],
  ])('%j is refused', (profile, message) => {
    const text = typeof profile === 'string' ? profile : JSON.stringify(profile);
    expect(() => readSeccompProfile(text, 'p.json', MACHINE)).toThrow(
      expect.objectContaining({ code: 'E_SECCOMP_PROFILE', message: expect.stringMatching(message) }),
    );
  });
});
