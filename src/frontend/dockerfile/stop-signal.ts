/** Signals that STOPSIGNAL takes: numbers and Linux's names, with or without `SIG`. Source: signal(7). */

/** Real-time signals are numbers from 34; 64 is the last one. */
const LARGEST_SIGNAL = 64;

const NAMES = (
  'ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP ' +
  'TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ'
).split(' ');
const REAL_TIME = [
  'RTMIN',
  ...Array.from({ length: 15 }, (_, index) => `RTMIN+${index + 1}`),
  ...Array.from({ length: 14 }, (_, index) => `RTMAX-${14 - index}`),
  'RTMAX',
];

export const SIGNAL_NAMES: readonly string[] = [...NAMES, ...REAL_TIME].map((name) => `SIG${name}`);

export function isSignal(text: string): boolean {
  if (/^\d+$/.test(text)) {
    return Number(text) > 0 && Number(text) <= LARGEST_SIGNAL;
  }
  const upper = text.toUpperCase();
  return SIGNAL_NAMES.includes(upper.startsWith('SIG') ? upper : `SIG${upper}`);
}
