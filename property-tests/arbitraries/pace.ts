export * from '../../src/laws/pace.js';
