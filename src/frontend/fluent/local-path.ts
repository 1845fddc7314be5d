/** Local paths as this frontend takes them; secrets take them too. */
export { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
