/** Scans a context and prints, for each source, the paths that it selects or the code of its error. */
import { ScannedContext } from '../../src/local/scan-context.ts';
import { native } from '../../src/native/addon.ts';
import { MemoryStatCache } from './plain-scan.ts';

const [directory = '', ignore = '', ...sources] = process.argv.slice(2);
const tools = {
  native: native(),
  statCache: new MemoryStatCache(),
  now: () => BigInt(Date.now()) * 1_000_000n,
};
const context = await ScannedContext.scan(
  { name: 'context', directory, ignore: { name: '.dockerignore', text: ignore } },
  tools,
);
const answers: unknown[] = [];
for (const source of sources) {
  try {
    const select = { wildcards: true, parents: false, exclude: [] };
    const { files } = await context.files([{ source, select }], tools);
    answers.push(files.map(({ path }) => path));
  } catch (error) {
    answers.push((error as { code: unknown }).code);
  }
}
console.log(JSON.stringify(answers));
