/** The ways in which steps are kept apart from the machine, best first, after the choice among them. docs/guide/containers-and-ci.md. */
export const ISOLATION_CHOICES = ['auto', 'privileged', 'subordinate-ids', 'single-id', 'chroot'] as const;

/** `auto` is the best that works. */
export type IsolationChoice = (typeof ISOLATION_CHOICES)[number];
export type Isolation = Exclude<IsolationChoice, 'auto'>;

export function isIsolationChoice(text: string): text is IsolationChoice {
  return (ISOLATION_CHOICES as readonly string[]).includes(text);
}
