import { native } from '../../src/native/addon.ts';
import { scanInputSuite } from '../suite/scan-input-suite.ts';

scanInputSuite('the native addon', native());
