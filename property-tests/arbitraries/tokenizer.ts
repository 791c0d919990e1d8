export * from '../../src/laws/tokenizers.js';
