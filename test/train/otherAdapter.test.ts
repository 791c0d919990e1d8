/** An adapter that was trained on another model: the error names its directory and its file, and no option of the call. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { isFatal, orThrow, render } from '../../src/errors.js';
import { loadAdapter, loadModel } from '../../src/train/loading/load.js';
import { saveModel } from '../../src/train/saving/save.js';
import { inTemporary } from '../cli/rxtune.js';

const base = 'examples/quickstart/base';

const refusal = (change: object): Promise<string> =>
  inTemporary(async (directory) => {
    const { model } = await orThrow(loadModel(base));
    await orThrow(saveModel(directory, orThrow(attachLora(model, orThrow(LoraConfig.decode({ r: 4 })), { seed: 1 }))));
    const file = join(directory, 'adapter_config.json');
    const config = JSON.parse(await readFile(file, 'utf8')) as object;
    await writeFile(file, JSON.stringify({ ...config, ...change }));
    const { model: plain } = await orThrow(loadModel(base));
    const outcome = await loadAdapter(plain, directory)();
    if (outcome._tag === 'Right' || !isFatal(outcome.left)) throw new Error('it must be refused');
    expect(outcome.left.kind).toBe('run');
    return render(outcome.left).replaceAll(directory, 'DIR');
  });

test('of other modules', async () => {
  const told = await refusal({ target_modules: ['c_attn'] });
  expect(told).toMatch(/^DIR: no module of the model matches target_modules \["c_attn"\] \[E_LORA_TARGET\]/);
  expect(told).toContain('was it trained on this model? adapter_config.json names its base model');
});

test('of another rank than it says', async () => {
  const told = await refusal({ r: 8 });
  expect(told).toMatch(/^DIR: the adapter of ".*q_proj" is not of the rank that its configuration tells/);
  expect(told).toContain('try:      was it trained on this model?');
});
