/** What models look like as GGUF: written, and read back by a reader of the tests' own. */
import { join, resolve } from 'node:path';
import { dispose } from '@tensorflow/tfjs-core';
import { orThrow } from '../../src/errors.js';
import type { CausalLM } from '../../src/model/model.js';
import { loadModel } from '../../src/train/loading/load.js';
import { exportGguf } from '../../src/train/saving/exportGguf.js';
import { modelOf } from '../../property-tests/arbitraries/models.js';
import { inTemporary } from '../cli/rxtune.js';
import { readGguf } from '../formats/ggufReader.js';
import type { GgufRead } from '../formats/ggufReader.js';
import { letters as tokenizer } from './letters.js';

const models = resolve(import.meta.dirname, '..', 'golden', 'models');

type Use = (read: GgufRead, model: CausalLM) => void;

/** What of a golden model's file is to hold. Resolves to the codes of warnings. */
export const exported = (name: string, outtype: 'f32' | 'f16' | 'q8_0', use: Use): Promise<ReadonlyArray<string>> =>
  inTemporary(async (directory) => {
    const { model } = await orThrow(loadModel(join(models, name)));
    const file = join(directory, 'model.gguf');
    const warnings = await orThrow(exportGguf(file, model, { tokenizer, outtype, name }));
    use(readGguf(file), model);
    dispose(Object.values(model.weights));
    // The tokenizer of letters has no end, nor Phi-3's tokens.
    return warnings.map(({ code }) => code).filter((code) => !/_(?:TOKENIZER|NAME)$/.test(code));
  });

/** The same of a model of this configuration. */
export const exportedAsMade = (raw: object, use: Use): Promise<void> =>
  inTemporary(async (directory) => {
    const model = modelOf({ ...raw, vocab_size: 40 }, 1);
    const file = join(directory, 'model.gguf');
    await orThrow(exportGguf(file, model, { tokenizer, outtype: 'f32' }));
    use(readGguf(file), model);
    dispose(Object.values(model.weights));
  });

/** What a model of this configuration is refused for. */
export const refusedAsMade = async (raw: object): Promise<unknown> => {
  const model = modelOf({ ...raw, vocab_size: 40 }, 1);
  const result = await exportGguf('/nowhere/model.gguf', model, { tokenizer })();
  dispose(Object.values(model.weights));
  return result;
};

/** The numbers of a weight. */
export const numbers = (model: CausalLM, name: string): ReadonlyArray<number> =>
  Array.from(model.weights[name]?.dataSync() ?? []);

/** The numbers of a tensor of the file. */
export const there = ({ tensors }: GgufRead, name: string): ReadonlyArray<number> =>
  Array.from(tensors.get(name)?.values ?? []);

/** Where number i of a head of `size` comes from: pairs that turn together lie beside each other. */
export const origin = (row: number, size: number): number =>
  Math.floor(row / size) * size + (row % 2) * (size / 2) + Math.floor((row % size) / 2);
