/** The engine as commands get it, loaded when a command first needs it. */
// @ts-expect-error: the composition root is written beside this file and replaces this line.
export { checkLogin, Engine, eraseLogin, Image, probeHost, saveLogin } from '../engine.ts';
