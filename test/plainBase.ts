/** The quick start's model as one that has never seen a conversation: other special tokens, no chat template. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const base = resolve(import.meta.dirname, '..', 'examples', 'quickstart', 'base');

/** Writes it into `dir`, which must not be there. 512 tokens, head tied, positions 256. */
export const plainBase = (dir: string): string => {
  cpSync(base, dir, { recursive: true });
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    const text = readFileSync(join(dir, name), 'utf8');
    writeFileSync(join(dir, name), text.replaceAll('<|im_start|>', '<|begin|>').replaceAll('<|im_end|>', '<|end|>'));
  }
  const path = join(dir, 'tokenizer_config.json');
  const { chat_template: _, ...config } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify(config));
  return dir;
};
