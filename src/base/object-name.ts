/** Names of stored secrets and volumes, and of the environments that they are in (B4.3 of the Image API). */
import { DefinitionError } from '../errors.ts';

const NAME = /^[A-Za-z0-9._-]{1,64}$/;
/** What other systems take for the id of an app. */
const APP_ID = /^ap-[A-Za-z0-9]{22}$/;

/** Of names of images and their tags too. */
export function hasNameShape(text: string): boolean {
  return NAME.test(text) && !APP_ID.test(text);
}

export function isObjectName(name: string): boolean {
  // A name is the name of a file too.
  return hasNameShape(name) && name !== '.' && name !== '..';
}

/** @throws {DefinitionError} `E_NAME` */
export function checkObjectName(where: string, what: string, name: unknown): string {
  if (typeof name !== 'string' || !isObjectName(name)) {
    const shown = typeof name === 'string' ? `'${name.slice(0, 80)}'` : `a value of type ${typeof name}`;
    throw new DefinitionError(`${where}: ${shown} cannot be the name of ${what}`, {
      code: 'E_NAME',
      hint: 'names are 1 to 64 of the characters A-Z, a-z, 0-9, dot, dash and underscore',
    });
  }
  return name;
}
