/** The unit cases of TRL 0.7.10, and a conversation as axolotl tokenises it: `golden/trl` and `golden/axolotl`. */
import { describe, expect, test } from '@jest/globals';
import { withChatFormat } from '../../src/formats/tokenizing/addTokens.js';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import type { ChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import { decodeExample } from '../../src/formats/examples/example.js';
import { batchRows } from '../../src/operators/batch.js';
import { formatRow } from '../../src/operators/format.js';
import { maskCompletionsRow } from '../../src/operators/maskCompletions.js';
import { packConstantLengthRows } from '../../src/operators/packConstantLength.js';
import { templateIds } from '../../src/operators/responses.js';
import { tokenizeRow } from '../../src/operators/tokenize.js';
import type { Labelled, Message } from '../../src/records.js';
import { sharedPath } from '../shared.js';
import { sharedText, sharedTokenizer } from '../sharedTokenizer.js';

const present = sharedPath('data', 'golden', 'trl') !== undefined;
const whenThere = present ? describe : describe.skip;
if (!present) process.stdout.write('skipped: unit cases of TRL, a row of axolotl (no shared test data here)\n');

interface UnitCase {
  readonly test: string;
  readonly kind: 'collator' | 'formatting' | 'chat format' | 'packing' | 'trainer' | 'neftune' | 'peft';
  readonly tokenizer?: string;
  readonly response_template?: string;
  readonly instruction_template?: string;
  readonly templates_given_as?: string;
  readonly texts?: ReadonlyArray<string>;
  readonly expect_decoded_after_last_ignored?: ReadonlyArray<string>;
  readonly expect_decoded_labels?: ReadonlyArray<string>;
  readonly messages?: ReadonlyArray<Message>;
  readonly column?: string;
  readonly row?: Readonly<Record<string, unknown>>;
  readonly expect?: unknown;
}
interface Cases {
  readonly datasets: Readonly<Record<string, ReadonlyArray<Readonly<Record<string, unknown>>>>>;
  readonly cases: ReadonlyArray<UnitCase>;
}

const right = <A>(result: { readonly _tag: 'Right'; readonly right: A } | { readonly _tag: 'Left' }): A => {
  if (result._tag === 'Left') throw new Error(JSON.stringify(result));
  return result.right;
};

/** Where the cases that train are held to their outcome; what they need is a model, not the data here. */
const elsewhere: Readonly<Record<string, string>> = {
  test_sft_trainer: 'test/train/trainer.test.ts: evaluation and checkpoints at their steps',
  test_sft_trainer_uncorrect_data:
    'test/train/prepare.test.ts, test/operators/text.test.ts: what is refused, with its code',
  test_sft_trainer_with_model_num_train_epochs: 'test/train/plan.test.ts: maxSteps goes before epochs',
  test_sft_trainer_with_model:
    'test/train/trainer.test.ts, test/train/prepare.test.ts: packed or not, by field or formatter',
  test_sft_trainer_with_multiple_eval_datasets: 'test/train/trainer.test.ts: several sets by name',
  test_sft_trainer_infinite_with_model: 'test/train/plan.test.ts: as many epochs as maxSteps needs',
  test_sft_trainer_infinite_with_model_epochs: 'test/train/plan.test.ts: one epoch ends the run',
  test_sft_trainer_with_model_neftune: 'test/model/neftune.test.ts: noise in training only, new every pass',
  test_peft_sft_trainer: 'test/train/trainer.test.ts: an adapter is saved alone',
  test_peft_sft_trainer_gc: 'property-tests/train/trainer.test.ts: checkpointing changes no number',
  test_peft_sft_trainer_neftune: 'property-tests/train/trainer.test.ts: with an adapter and noise',
};

whenThere('unit cases of TRL 0.7.10', () => {
  const { cases, datasets } = JSON.parse(
    sharedText('data', 'golden', 'trl', 'v0.7.10_unit_cases.json') ?? '{"cases":[],"datasets":{}}',
  ) as Cases;
  const ofKind = (kind: UnitCase['kind']): ReadonlyArray<UnitCase> => cases.filter((one) => one.kind === kind);

  test('are all there, here or named with the test that holds them', () => {
    expect(cases.length).toBe(26);
    const here = new Set(['collator', 'formatting', 'chat format', 'packing']);
    for (const { test: name, kind } of cases) {
      if (!here.has(kind)) expect(Object.keys(elsewhere)).toContain(name);
    }
  });

  const gpt2 = present ? sharedTokenizer('gpt2') : undefined;
  const idsOf = (template: string, cut: number): ReadonlyArray<number> =>
    gpt2 === undefined ? [] : templateIds(template, gpt2).slice(cut);

  test.each(ofKind('collator').map((one) => [one.test, one] as const))('%s', (_, one) => {
    if (gpt2 === undefined) return;
    const asIds = one.templates_given_as !== undefined;
    const mask = maskCompletionsRow({
      parity: 'trl-0.7.10',
      padTokenId: gpt2.eosTokenId,
      responseTemplate: idsOf(one.response_template ?? '', asIds ? 2 : 0),
      ...(one.instruction_template === undefined
        ? {}
        : { instructionTemplate: idsOf(one.instruction_template, asIds ? 1 : 0) }),
    });
    const rows = (one.texts ?? []).map((text) => {
      const inputIds = gpt2.encode(text, { addSpecialTokens: true });
      return right(mask({ inputIds, seqLengths: [inputIds.length] }));
    });
    const left = one.tokenizer?.includes('left') === true;
    const { shape, labels } = batchRows({ padTokenId: gpt2.eosTokenId, ...(left ? { paddingSide: 'left' } : {}) })(
      rows,
    );
    rows.forEach((row, i) => {
      const own = labels.subarray(i * shape[1], (i + 1) * shape[1]);
      const trained = gpt2.decode(own.filter((label) => label !== -100));
      if (one.expect_decoded_labels !== undefined) expect(trained).toBe(one.expect_decoded_labels[i]);
      else if (one.expect_decoded_after_last_ignored !== undefined) {
        const after = own.subarray(own.lastIndexOf(-100) + 1);
        expect(gpt2.decode(after.length > 0 ? after : row.labels.filter((label) => label !== -100))).toBe(
          one.expect_decoded_after_last_ignored[i],
        );
      } else if (String(one.expect).startsWith('every label is -100')) expect(trained).toBe('');
      else expect(trained).not.toBe('');
    });
  });

  const templateNamed = (name: string, specialTokens: Readonly<Record<string, unknown>>): ChatTemplate => {
    const line = (sharedText('data', 'golden', 'chat_templates', 'huggingface_js.jsonl') ?? '')
      .split('\n')
      .find((text) => text.includes(`"name": "${name}"`));
    const { chat_template: source } = JSON.parse(line ?? '{}') as { readonly chat_template: string };
    return right(makeChatTemplate(source, { specialTokens }));
  };

  test.each(ofKind('formatting').map((one) => [one.test, one] as const))('%s', (_, one) => {
    const llama = templateNamed('default/llama', { bos_token: '<s>', eos_token: '</s>' });
    const chatMl = templateNamed('default/_base', {});
    const textOf = (template: ChatTemplate, row: unknown): string => {
      const formatted = right(formatRow({ template, parity: 'trl-0.7.10' })(right(decodeExample(row))));
      return 'text' in formatted ? formatted.text : '';
    };
    const row = one.messages === undefined ? one.row : { [one.column ?? '']: one.messages };
    if (typeof one.expect === 'string') {
      // A column `text`, and ShareGPT's from/value, are recognised here: what 0.7.10 gave up on is a shape of its own.
      expect(decodeExample(one.row ?? { conversations: [{ from: 'human', value: 'x' }] })).toMatchObject({
        _tag: 'Right',
      });
      return;
    }
    for (const [name, expected] of Object.entries(one.expect as Readonly<Record<string, string>>)) {
      expect(textOf(name.startsWith('llama') ? llama : chatMl, row)).toBe(expected);
    }
  });

  test.each(ofKind('chat format').map((one) => [one.test, one] as const))('%s', (_, one) => {
    const tokenizer = right(withChatFormat(sharedTokenizer('tinyllama-chat'), { parity: true }));
    if (one.messages === undefined) {
      expect([tokenizer.bosToken, tokenizer.eosToken, tokenizer.padToken]).toEqual([
        '<|im_start|>',
        '<|im_end|>',
        '<|im_end|>',
      ]);
      expect(tokenizer.vocabSize).toBe(32_002);
      return;
    }
    const rendered = right(tokenizer.chatTemplate?.render({ messages: one.messages }) ?? { _tag: 'Left' });
    expect(rendered.text).toBe(one.expect);
  });

  test('test_constant_length_dataset', () => {
    if (gpt2 === undefined) return;
    const rows = datasets['dummy'] ?? [];
    const texts = rows.map(
      ({ question, answer }) => `### Question: ${String(question)}\n ### Answer: ${String(answer)}`,
    );
    const windows = packConstantLengthRows({ tokenizer: gpt2, seqLength: 16, shuffle: false })(texts);
    expect(windows.length).toBeGreaterThan(0);
    for (const { inputIds, labels } of windows) {
      expect([inputIds.length, labels.length]).toEqual([16, 16]);
      expect(gpt2.decode(inputIds)).toMatch(/Question|Answer/);
    }
    // The default window holds more than all of these rows: no example at all.
    expect(packConstantLengthRows({ tokenizer: gpt2, seqLength: 1024 })(texts)).toEqual([]);
  });
});

interface Recorded {
  readonly input_ids: ReadonlyArray<number>;
  readonly labels: ReadonlyArray<number>;
}

whenThere('a conversation as axolotl tokenises it', () => {
  const json = (name: string): unknown => JSON.parse(sharedText('data', 'golden', 'axolotl', name) ?? 'null');
  const { conversations } = (json('conversation.json') ?? { conversations: [] }) as {
    readonly conversations: ReadonlyArray<{ readonly from: string; readonly value: string }>;
  };
  const tokenizer = present ? sharedTokenizer('tinyllama-chat') : undefined;

  /**
   * It encodes each turn by itself and lays the ids end to end; behind an answer it trains `</s>` spelt in letters, then EOS. No
   * one text has these ids, so the row is put together here as it is there.
   */
  test('in the Vicuna form', () => {
    if (tokenizer === undefined) return;
    const golden = json('conversation.tokenized.json') as Recorded;
    const system =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.";
    const ids: Array<number> = [];
    const labels: Array<number> = [];
    const add = (piece: Iterable<number>, trained: boolean): void => {
      for (const id of piece) {
        ids.push(id);
        labels.push(trained ? id : -100);
      }
    };
    const encode = (text: string): Int32Array => tokenizer.encode(text, { addSpecialTokens: false });
    const eos = tokenizer.eosTokenId ?? -1;
    add([tokenizer.bosTokenId ?? -1], false);
    conversations.forEach(({ from, value }, i) => {
      if (from === 'human') add(encode(`${i === 0 ? `${system}  ` : ''}USER: ${value}  ASSISTANT:`), false);
      else add([...encode(`${value}</s`), tokenizer.tokenToId('>') ?? -1, eos], true);
    });
    // What is left of the last turn there is cut off by its length.
    expect(ids.slice(0, golden.input_ids.length)).toEqual(golden.input_ids.slice(0, ids.length));
    expect(labels.slice(0, golden.labels.length)).toEqual(golden.labels.slice(0, labels.length));
  });

  test('in the Llama-2 form', () => {
    if (tokenizer === undefined) return;
    const golden = json('conversation.tokenized_llama2chat.json') as Recorded;
    const template = right(
      makeChatTemplate(
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}",
        { specialTokens: { bos_token: '<s>', eos_token: '</s>' } },
      ),
    );
    const system = tokenizer.decode(golden.input_ids.slice(4, 156)).split('how could i')[0] ?? '';
    const example = right(decodeExample({ conversations, chat_template_kwargs: { system: system.trimStart() } }));
    const row: Labelled = right(
      maskCompletionsRow({ assistantOnlyLoss: true })(
        right(tokenizeRow({ tokenizer })(right(formatRow({ template })(example)))),
      ),
    );
    const length = row.inputIds.length;
    // Behind the row there: one more BOS, and padding.
    expect([...row.inputIds]).toEqual(golden.input_ids.slice(0, length));
    expect(golden.input_ids.slice(length).every((id, i) => id === (i === 0 ? 1 : 0))).toBe(true);
    expect([...row.labels]).toEqual(golden.labels.slice(0, length));
  });
});
