/** The emulated card, compiled before its tests begin: of those that begin at once each would compile it for itself. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { compileMock } from '../native/cuda/compile.mjs';

const engine = join(import.meta.dirname, '..', 'native', 'build', 'rxtune.node');

export default async () => {
  // Elsewhere those tests are passed over.
  if (process.platform === 'linux' && existsSync(engine)) await compileMock();
};
