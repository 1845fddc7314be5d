import { scanInputSuite } from '../../suite/scan-input-suite.ts';
import { plainScan } from '../../support/plain-scan.ts';

scanInputSuite('a plain scan', plainScan);
