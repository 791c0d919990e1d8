/** QLoRA from the command line: train on a base in 4 bits, use the adapter, merge it. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { base, built, inTemporary, root, rxtune } from './rxtune.js';

const shop = join(root, 'examples', 'quickstart');
const sft = ['sft', '--model', base, '--train-dataset', join(shop, 'train.jsonl'), '--assistant-only-loss'];
const small = ['--max-length', '256', '--per-device-train-batch-size', '4', '--max-steps', '3'];

beforeAll(() => void built());

describe('sft on a quantised base', () => {
  test('--load-in-4bit --use-peft leaves an adapter that merges into the base', () =>
    inTemporary(async (directory) => {
      const adapter = join(directory, 'adapter');
      const four = ['--load-in-4bit', '--bnb-4bit-quant-type', 'nf4', '--bnb-4bit-use-double-quant'];
      const run = await rxtune(...sft, ...small, ...four, '--use-peft', '--lora-r', '4', '--output-dir', adapter);
      expect(run).toMatchObject({ code: 0, out: '' });
      expect(readdirSync(adapter)).toEqual(
        expect.arrayContaining(['adapter_config.json', 'adapter_model.safetensors']),
      );
      const merged = join(directory, 'merged');
      const plain = await rxtune('merge', '--model', base, '--adapter', adapter, '--output-dir', merged);
      expect(plain).toMatchObject({ code: 0 });
      expect(plain.err).not.toContain('W_MERGE_ROUNDS');
      const rounded = join(directory, 'rounded');
      const held = await rxtune('merge', '--model', base, '--adapter', adapter, '--output-dir', rounded, ...four);
      expect(held).toMatchObject({ code: 0 });
      expect(held.err).toContain('W_MERGE_ROUNDS');
      expect(JSON.parse(await readFile(join(rounded, 'config.json'), 'utf8'))).toMatchObject({
        quantization_config: { quant_method: 'bitsandbytes', load_in_4bit: true, bnb_4bit_quant_type: 'nf4' },
      });
    }));

  test('--load-in-8bit trains an adapter too', () =>
    inTemporary(async (directory) => {
      const run = await rxtune(...sft, ...small, '--load-in-8bit', '--use-peft', '--output-dir', directory);
      expect(run).toMatchObject({ code: 0 });
    }));

  test('the whole model is refused before anything is written', () =>
    inTemporary(async (directory) => {
      const run = await rxtune(...sft, ...small, '--load-in-4bit', '--output-dir', directory);
      expect(run.code).not.toBe(0);
      expect(run.err).toContain('E_QUANTIZED_TRAINING');
      expect(readdirSync(directory)).toEqual(['error.json']);
    }));
});
