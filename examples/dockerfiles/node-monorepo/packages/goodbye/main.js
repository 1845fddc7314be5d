import { greet } from '@example/greeting';

console.log(greet('goodbye', process.argv[2] ?? 'world'));
