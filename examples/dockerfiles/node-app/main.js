import { describe } from './how-long.js';

for (const duration of process.argv.slice(2)) console.log(describe(duration));
