/** `rxtune quantize`: a directory that GPTQ's readers know, and the perplexity before and after. */
import { beforeAll, expect, test } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { orThrow } from '../../src/errors.js';
import { readSafetensors } from '../../src/formats/tensors/safetensors.js';
import { base, built, inTemporary, root, rxtune } from './rxtune.js';

const rows = join(root, 'examples', 'quickstart', 'train.jsonl');
const call = ['quantize', '--model', base, '--train-dataset', rows, '--max-length', '128', '--calibration-rows', '6'];

beforeAll(() => void built());

test('writes packed weights and both configurations, and tells what it cost', () =>
  inTemporary(async (directory) => {
    const out = join(directory, 'gptq');
    const run = await rxtune(...call, '--group-size', '16', '--desc-act', '--output-dir', out);
    expect(run).toMatchObject({ code: 0 });
    const told = JSON.parse(run.out) as Readonly<Record<string, number>>;
    expect(told).toMatchObject({ calibration_rows: 6 });
    expect(told['perplexity_after']).not.toBe(told['perplexity_before']);
    expect((told['perplexity_after'] ?? NaN) / (told['perplexity_before'] ?? NaN)).toBeLessThan(1.5);
    const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as Readonly<Record<string, unknown>>;
    const alone = JSON.parse(await readFile(join(out, 'quantize_config.json'), 'utf8')) as unknown;
    expect(config['quantization_config']).toEqual(alone);
    expect(alone).toMatchObject({ quant_method: 'gptq', bits: 4, group_size: 16, desc_act: true, sym: true });
    const { tensors } = await orThrow(readSafetensors(join(out, 'model.safetensors')));
    const packed = [...tensors.keys()].filter((name) => name.endsWith('.qweight'));
    expect(packed).toHaveLength(told['modules'] ?? NaN);
    for (const name of packed) {
      const module = name.replace(/\.qweight$/, '');
      for (const part of ['qzeros', 'scales', 'g_idx']) expect(tensors.has(`${module}.${part}`)).toBe(true);
      expect(tensors.has(`${module}.weight`)).toBe(false);
    }
  }));

test('measures on rows that calibration has not seen, and says so in its output and on the card', () =>
  inTemporary(async (directory) => {
    const out = join(directory, 'held');
    const heldOut = join(root, 'examples', 'quickstart', 'heldout.jsonl');
    const run = await rxtune(...call, '--eval-dataset', heldOut, '--group-size', '16', '--output-dir', out);
    expect(run).toMatchObject({ code: 0 });
    const told = JSON.parse(run.out) as Readonly<Record<string, number>>;
    const { eval_perplexity_before: before = NaN, eval_perplexity_after: after = NaN } = told;
    expect(after).not.toBe(before);
    expect(after / before).toBeLessThan(1.5);
    expect(before).not.toBe(told['perplexity_before']);
    // The same numbers as the command that measures, of the base and of what was written.
    const measured = async (model: string): Promise<number | undefined> => {
      const result = await rxtune('evaluate', '--model', model, '--eval-dataset', heldOut, '--max-length', '128');
      const values = JSON.parse(result.out) as Readonly<Record<string, number>>;
      expect(values['num_rows']).toBe(told['eval_rows']);
      return values['perplexity'];
    };
    expect(await measured(base)).toBeCloseTo(before, 5);
    expect(await measured(out)).toBeCloseTo(after, 5);
    const card = await readFile(join(out, 'README.md'), 'utf8');
    expect(card).toContain('GPTQ in 4 bits, groups of 16');
    expect(card).toContain(`| eval_perplexity_before | ${Number(before.toPrecision(5))} |`);
    expect(card).toContain(`| eval_perplexity_after | ${Number(after.toPrecision(5))} |`);
    expect(card).toContain('- gptq');
    expect(card).not.toContain('fine-tuning');
  }));

test('refuses other widths, and to write nowhere', async () => {
  expect((await rxtune(...call, '--bits', '3', '--output-dir', '/nowhere')).err).toContain('4 or 8');
  expect((await rxtune(...call)).err).toContain('--output-dir');
});
