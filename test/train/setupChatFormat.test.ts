/** A base model set up for conversations: function, option, flag, and what the directory says that is left. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import { chatMl } from '../../src/formats/templates/chatMl.js';
import { chooseEngine } from '../../src/train/engine.js';
import { mergeAndUnload } from '../../src/model/adapters/merge.js';
import { load } from '../../src/train/loading/load.js';
import type { Loaded } from '../../src/train/loading/load.js';
import type { Begun } from '../../src/train/run/run.js';
import { saveModel } from '../../src/train/saving/save.js';
import { rowsFor, setupChatFormat } from '../../src/train/loading/setupChatFormat.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { numbersOf } from '../../property-tests/train/tiny.js';
import { orThrow as made } from '../model/loadModel.js';
import { plainBase } from '../plainBase.js';

const root = mkdtempSync(join(tmpdir(), 'rxtune-chat-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const plain = join(root, 'plain');
beforeAll(async () => {
  plainBase(plain);
  await orThrow(chooseEngine());
});

const chats = [
  {
    messages: [
      { role: 'user', content: 'Two red mugs' },
      { role: 'assistant', content: 'Here they are' },
    ],
  },
  {
    messages: [
      { role: 'user', content: 'Six blue dishes' },
      { role: 'assistant', content: 'On Friday' },
    ],
  },
];

const configIn = (dir: string): Readonly<Record<string, unknown>> =>
  JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Readonly<Record<string, unknown>>;

describe('setupChatFormat', () => {
  test('tokenizer, embedding and configuration agree, in memory and on disk', async () => {
    const before = await orThrow(load(plain));
    const [oldRow] = [before.model.weights['model.embed_tokens.weight']?.dataSync().slice(0, 64)];
    const { model, tokenizer, newTokenIds } = made(setupChatFormat(before));
    expect(newTokenIds).toEqual([512, 513]);
    expect(tokenizer).toMatchObject({
      vocabSize: 514,
      bosToken: chatMl.bosToken,
      eosTokenId: 513,
      padToken: '<|pad|>',
    });
    expect(model.config).toMatchObject({ vocabSize: 514, bosTokenId: 512, eosTokenIds: [513], padTokenId: 3 });
    const dir = join(root, 'saved');
    await orThrow(saveModel(dir, model, { tokenizer }));
    expect(configIn(dir)).toMatchObject({ vocab_size: 514, bos_token_id: 512, eos_token_id: 513, pad_token_id: 3 });
    expect(JSON.parse(readFileSync(join(dir, 'generation_config.json'), 'utf8'))).toMatchObject({ eos_token_id: 513 });
    const again = await orThrow(load(dir));
    expect(again.tokenizer.chatTemplate?.source).toBe(chatMl.template);
    expect(again.tokenizer.encode('<|im_start|>', { addSpecialTokens: false })).toEqual(Int32Array.of(512));
    expect(numbersOf(again.model)).toEqual(numbersOf(model));
    expect(again.model.weights['model.embed_tokens.weight']?.dataSync().slice(0, 64)).toEqual(oldRow);
  });

  test.each([
    [undefined, 514],
    [64, 576],
    [514, 514],
    [1, 514],
  ])('rows as a multiple of %p: %p', async (resizeToMultipleOf, rows) => {
    const { model, tokenizer } = made(setupChatFormat(await orThrow(load(plain)), { resizeToMultipleOf }));
    expect(model.config.vocabSize).toBe(rows);
    expect(tokenizer.vocabSize).toBe(514);
  });

  test("the embedding shrinks to the tokenizer's size, and grows no further than its tokens need", () => {
    const tokenizer = { vocabSize: 50_267 } as Loaded['tokenizer'];
    expect(rowsFor(tokenizer)).toMatchObject({ right: 50_267 });
    expect(rowsFor({ ...tokenizer, vocabSize: 32_002 }, 64)).toMatchObject({ right: 32_064 });
    // Ids with holes below them.
    expect(rowsFor({ ...tokenizer, vocabSize: 5, eosTokenId: 9 })).toMatchObject({ right: 10 });
    expect(rowsFor(tokenizer, 1.5)).toMatchObject({ left: { code: 'E_OPTIONS' } });
  });

  test('parity: padding is the end of turn, the configuration keeps its ids', async () => {
    const before = await orThrow(load(plain));
    const { model, tokenizer } = made(setupChatFormat(before, { parity: true }));
    expect(tokenizer.padToken).toBe('<|im_end|>');
    expect(model.config).toMatchObject({ vocabSize: 514, eosTokenIds: [2], raw: { eos_token_id: 2 } });
  });

  test('another format is refused', async () => {
    expect(setupChatFormat(await orThrow(load(plain)), { format: 'vicuna' })).toMatchObject({
      left: { code: 'E_UNKNOWN_CHAT_FORMAT', kind: 'usage' },
    });
  });
});

describe('the option chatFormat', () => {
  const trained = async (name: string, options: object): Promise<{ readonly begun: Begun; readonly dir: string }> => {
    const dir = join(root, name);
    const run = sftTrainer(
      { model: plain, trainDataset: chats },
      { chatFormat: 'chatml', maxLength: 64, maxSteps: 2, learningRate: 1e-2, outputDir: dir, ...options },
    );
    const begun: Begun[] = [];
    const warned: string[] = [];
    run.begun.subscribe((one) => begun.push(one));
    const hints: Array<string | undefined> = [];
    run.warnings.subscribe(({ code, hint }) => {
      warned.push(code);
      hints.push(hint);
    });
    await lastValueFrom(run.pipe(toArray()));
    expect(warned.includes('W_NEW_ROWS_FROZEN')).toBe(name === 'adapter');
    if (name === 'adapter') expect(hints.join()).toContain('trainableTokenIndices [512,513]');
    const [first] = begun;
    if (first === undefined) throw new Error('the run did not begin');
    return { begun: first, dir };
  };

  test('trains rows of ChatML, and the end of a turn among them', async () => {
    const { begun, dir } = await trained('whole', { assistantOnlyLoss: true });
    const { tokenizer, model } = await orThrow(load(dir));
    expect(begun.model.config.vocabSize).toBe(514);
    const answer = tokenizer.encode('Here they are<|im_end|>', { addSpecialTokens: false }).length;
    const other = tokenizer.encode('On Friday<|im_end|>', { addSpecialTokens: false }).length;
    expect(begun.trainSummary.trainedTokens).toBe(answer + other);
    expect(model.config.eosTokenIds).toEqual([513]);
    const rows = numbersOf(model)['model.embed_tokens.weight'] ?? [];
    const start = numbersOf(made(setupChatFormat(await orThrow(load(plain)), {})).model)['model.embed_tokens.weight'];
    expect(rows.slice(512 * 64)).not.toEqual(start?.slice(512 * 64));
  });

  test('with an adapter: the rows travel with it, and that they are frozen is told', async () => {
    const { dir } = await trained('adapter', { r: 2 });
    const { model, tokenizer } = await orThrow(load(plain, { adapterDir: dir }));
    expect(model.config.vocabSize).toBe(514);
    expect(tokenizer.eosToken).toBe('<|im_end|>');
    // The rows are those that the run drew, from its seed.
    const drawn = made(setupChatFormat(await orThrow(load(plain)), { seed: 42 })).model;
    const table = 'model.embed_tokens.weight';
    expect(numbersOf(model)[table]).toEqual(numbersOf(drawn)[table]);
    const again = join(root, 'adapter-again');
    await orThrow(saveModel(again, model, { tokenizer }));
    expect(numbersOf((await orThrow(load(plain, { adapterDir: again }))).model)).toEqual(numbersOf(model));
  });

  test('with an adapter and the embedding in modulesToSave, new rows train', async () => {
    const { dir } = await trained('saved', { r: 2, modulesToSave: ['embed_tokens', 'lm_head'] });
    const { model } = await orThrow(load(plain, { adapterDir: dir }));
    const drawn = made(setupChatFormat(await orThrow(load(plain)), { seed: 42 })).model;
    const table = 'model.embed_tokens.weight';
    expect(numbersOf(model)[table]?.slice(512 * 64)).not.toEqual(numbersOf(drawn)[table]?.slice(512 * 64));
    expect(numbersOf(model)['lm_head.weight']).toHaveLength(514 * 64);
  });

  test('with an adapter and trainableTokenIndices, the rows of these tokens train and no other', async () => {
    const { begun, dir } = await trained('rows', { r: 2, trainableTokenIndices: [512, 513] });
    const drawn = numbersOf(made(setupChatFormat(await orThrow(load(plain)), { seed: 42 })).model);
    const { model } = await orThrow(load(plain, { adapterDir: dir }));
    const table = 'model.embed_tokens.weight';
    expect(begun.model.trainable.filter((name) => name.startsWith('model.embed_tokens'))).toEqual([
      'model.embed_tokens.token_adapter.trainable_tokens_delta',
    ]);
    expect(numbersOf(model)[table]).toEqual(drawn[table]);
    const { model: plainAgain } = made(mergeAndUnload(model));
    const rows = numbersOf(plainAgain)[table] ?? [];
    expect(rows.slice(0, 512 * 64)).toEqual(drawn[table]?.slice(0, 512 * 64));
    for (const row of [512, 513])
      expect(rows.slice(row * 64, row * 64 + 64)).not.toEqual(drawn[table]?.slice(row * 64, row * 64 + 64));
  });

  test("together with a template of one's own is refused", async () => {
    const run = sftTrainer(
      { model: plain, trainDataset: chats },
      { chatFormat: 'chatml', chatTemplate: '{{ messages }}' },
    );
    await expect(lastValueFrom(run)).rejects.toMatchObject({ code: 'E_OPTIONS', kind: 'usage' });
  });
});
