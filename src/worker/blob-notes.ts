/** What is kept beside a blob of copied files, for whoever makes the layer's next state. As text: seconds, a space, base64. */

export interface BlobNotes {
  /**
   * When the directories were made that the copy made on its way, in seconds since the epoch. They are made anew with each state and keep it,
   * since they come first in a layer: with another time, digests of all that follows would have to be found again.
   */
  readonly madeSeconds: number;
  /** Of the native helper. */
  readonly frames: Buffer;
}

export function notesText({ madeSeconds, frames }: BlobNotes): string {
  return `${madeSeconds} ${frames.toString('base64')}`;
}

/** Undefined for a text that is none. */
export function parseNotes(text: string | undefined): BlobNotes | undefined {
  const [, seconds, frames] = /^(\d{1,12}) ([A-Za-z0-9+/]+=*)$/.exec(text ?? '') ?? [];
  return seconds === undefined || frames === undefined
    ? undefined
    : { madeSeconds: Number(seconds), frames: Buffer.from(frames, 'base64') };
}
