/** The engine as commands get it, loaded when a command first needs it. */
export { checkLogin, eraseLogin, saveLogin } from '../engine/login.ts';
// @ts-expect-error: the composition root is written beside this file and replaces this line.
export { Engine, Image, probeHost } from '../engine.ts';
