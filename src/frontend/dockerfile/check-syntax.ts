import type { CheckReport } from './check-report.ts';
import type { Dockerfile } from './instruction.ts';
export function checkSyntax(_dockerfile: Dockerfile, _report: CheckReport): void {}
