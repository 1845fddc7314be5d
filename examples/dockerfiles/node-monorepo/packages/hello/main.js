import { greet } from '@example/greeting';

console.log(greet('hello', process.argv[2] ?? 'world'));
