/** Thrown in the script of the command line where only its modules can go on: see `quick` in rolldown.config.js. */
export class Elsewhere extends Error {
  override readonly name = 'Elsewhere';
}
