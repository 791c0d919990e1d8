import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';

// Rows prepared for tests are kept apart from those of the user, and not for the next time.
process.env['RXTUNE_CACHE'] ??= join(tmpdir(), `rxtune-tests-${process.pid}`);

const card = process.env['RXTUNE_TEST_CARD'] !== undefined;

export default {
  ...(card ? { globalSetup: '<rootDir>/test/compileCard.mjs' } : {}),
  globalTeardown: '<rootDir>/test/removeCache.mjs',
  testEnvironment: 'node',
  testSequencer: '<rootDir>/test/sequencer.mjs',
  roots: ['<rootDir>/test', '<rootDir>/property-tests'],
  testMatch: ['**/*.test.ts'],
  // The card, once chosen, is the whole process's: npm run test:card runs these alone.
  testPathIgnorePatterns: card ? [] : ['/test/native/cuda\\w*\\.test\\.ts$'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  // Of packages that are CommonJS; those of our own modules: test/transform.mjs.
  sandboxInjectedGlobals: ['Math', 'Array', 'Object', 'Number', 'Float32Array', 'Int32Array', 'Uint8Array'],
  testTimeout: 600_000,
  // jest takes one process less than there are cores, which of two leaves one: twice the time.
  maxWorkers: Math.max(2, availableParallelism() - 1),
  transform: {
    '^.+\\.ts$': [
      '<rootDir>/test/transform.mjs',
      {
        jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
};
